"""The API as its own document describes it: schemathesis sends what the document allows, and what it does not, to a
real server, and compares every answer with the document. It finds no error of the server's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from crl_server.access.roles import STAFF
from crl_server.api.app import create_app
from crl_server.api.describe import told_routes
from crl_server.api.examples import examples
from crl_server.api.problems import TYPE, Problem, status_of
from tests.crl_server.deployments import ACTOR, DAY, NOW, made, revoke
from tests.crl_server.live import Live
from tools.generated_docs import OPENAPI
from verifier.formats.strict_json import convert, dumps
from verifier.formats.text import Name, Time
from verifier.revocation.standing_rules import KINDS

BOUNDED = settings(
    max_examples=8, derandomize=True, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
"""How many requests of each kind to each operation, the same in every run."""
HOST = Name("web-1")
ACKNOWLEDGEMENT = "/v1/hosts/{host}/acknowledgement"
JUDGED = {
    ("get", "/v1/components/hosts"),
    ("get", "/v1/components/artifacts"),
    ("post", "/v1/artifacts"),
    ("post", "/v1/revocations/bulk"),
    ("post", "/v1/rules"),
    ("post", "/v1/reinstatements"),
    ("post", "/v1/waivers"),
    ("post", ACKNOWLEDGEMENT),
}
"""What is judged by more than its form."""
DOCUMENT = json.loads(OPENAPI.read_text("utf-8"))


def modes(operation: dict[str, Any]) -> list[GenerationMode]:
    """Good requests, and wrong ones where anything can be wrong: a header may hold any text."""
    places = {parameter["in"] for parameter in operation.get("parameters", [])}
    wrong = "requestBody" in operation or places & {"path", "query"}
    return list(GenerationMode) if wrong else [GenerationMode.POSITIVE]


def whole(value: Any) -> Any:
    """The value with whole numbers written as such: 1.0 is an integer to JSON Schema, and none to a strict reader."""
    if isinstance(value, dict):
        return {name: whole(part) for name, part in value.items()}
    if isinstance(value, list):
        return [whole(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


CASES = [
    (path, method, mode)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    for mode in modes(operation)
]


@pytest.fixture(scope="module")
def live(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    authority = made(tmp_path_factory.mktemp(engine) / "acme")
    revoke(authority, *range(5))
    with Live(authority) as server:
        yield server
    authority.close()


@pytest.fixture(scope="module")
def token(live: Live) -> str:
    return live.authority.create_token(Name("all"), STAFF, DAY, ACTOR, NOW)


@pytest.fixture(scope="module")
def host_token(live: Live) -> str:
    return live.authority.create_token(Name("web"), ["host"], DAY, ACTOR, NOW, HOST)


@pytest.fixture(scope="module")
def api(live: Live) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_url(live.address + "/v1/openapi.json")
    schema.config.generation.update(with_security_parameters=False)
    return schema


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_every_answer_is_as_the_document_says(
    api: schemathesis.BaseSchema, token: str, host_token: str, path: str, method: str, mode: GenerationMode
) -> None:
    excluded = [positive_data_acceptance] if (method, path) in JUDGED else ()
    presented = host_token if path == ACKNOWLEDGEMENT else token

    @BOUNDED
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE:
            case.body = whole(case.body)
        case.call_and_validate(headers={"Authorization": f"Bearer {presented}"}, excluded_checks=list(excluded))

    ask()


def test_what_a_host_says_of_itself_is_taken_in_every_form_that_the_document_allows(
    api: schemathesis.BaseSchema, host_token: str
) -> None:
    """As above, by the host whose token it is, about the deployment that it belongs to: nothing is left to judge."""
    answers: list[int] = []

    @BOUNDED
    @given(case=api[ACKNOWLEDGEMENT]["post"].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case: schemathesis.Case[Any]) -> None:
        body: Any = whole(case.body)
        ordered = {plugin["digest"]: plugin | {"since": Time.of(NOW), "version": "1.4.2"} for plugin in body["plugins"]}
        plugins = [ordered[digest] for digest in sorted(ordered)]
        given = {"host": HOST, "deployment": "acme", "plugins": plugins, "at": Time.of(NOW)}
        case.path_parameters = {"host": str(HOST)}
        case.body = json.loads(dumps(body | given))
        answers.append(case.call_and_validate(headers={"Authorization": f"Bearer {host_token}"}).status_code)

    ask()
    assert set(answers) == {202}


# -- the document itself -----------------------------------------------------------------------------------------------


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield f"{method} {path}", operation


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, operation in operations()]
    assert len(set(names)) == len(names)


def test_every_operation_says_what_it_answers_and_what_it_refuses_with() -> None:
    typed = {"$ref", "type"}
    for name, operation in operations():
        answers = operation["responses"]
        done = [answer for status, answer in answers.items() if status in ("200", "201", "202")]
        assert done, name
        for answer in done:
            (media, content), *_ = answer["content"].items()
            assert content["schema"].keys() & typed, name
            assert media != "application/json" or "example" in content or name == "get /v1/openapi.json", name
        if "security" in operation:
            assert {"400", "401", "403", "503"} <= set(answers), name
        for status, answer in answers.items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
        if "requestBody" in operation:
            ((media, content),) = operation["requestBody"]["content"].items()
            assert media == "multipart/form-data" or "example" in content, name
            assert {"413", "429"} <= set(answers), name
    objects = [name for name, schema in DOCUMENT["components"]["schemas"].items() if "properties" not in schema]
    assert objects == []


MATCHES: dict[str, dict[str, Any]] = {
    "signer": {"principal": "team-a"},
    "builder": {"id": "https://ci.example/builder"},
    "source": {"repository": "https://git.example/acme", "commit": "0" * 40},
    "plugin": {"id": "csv_exporter", "range": ">=1.0,<1.4"},
    "component": {"purl": "pkg:pypi/foo", "range": "<2.1"},
    "statement": {"digest": "sha256:" + "0" * 64},
}


@pytest.mark.parametrize("name", ["RuleBody", "SweptRule"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_rule_takes_its_own_match_and_no_other(name: str, kind: str) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    reason = {"reason": "malicious"} if name == "RuleBody" else {}
    fits = {
        given for given, match in MATCHES.items()
        if Draft202012Validator(schema).is_valid({"kind": kind, "match": match, **reason})
    }  # fmt: skip
    assert fits == {kind}


def test_every_example_is_one_of_what_it_stands_for(live: Live) -> None:
    kinds = {
        kind.__name__: kind
        for _, known in told_routes(create_app(live.authority, lambda: NOW).routes)
        for kind in (known.answer, known.dry, known.body)
        if kind not in (None, dict)
    }
    assert set(examples()) == set(kinds)
    for name, example in examples().items():
        assert json.loads(dumps(convert(example, kinds[name], what=name))) == example, name


def test_every_example_of_a_problem_is_one() -> None:
    problems = [
        content["example"]
        for _, operation in operations()
        for answer in operation["responses"].values()
        for media, content in answer.get("content", {}).items()
        if media == "application/problem+json" and "example" in content
    ]
    assert len(problems) > 50
    for example in problems:
        found = convert(example, Problem, what="problem")
        assert (found.type, found.status) == (TYPE + found.code, status_of(found.code))
