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
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from crl_server.roles import STAFF
from tests.crl_server.deployments import ACTOR, DAY, NOW, made, revoke
from tests.crl_server.live import Live
from tools.generated_docs import OPENAPI
from verifier.formats.text import Name

BOUNDED = settings(
    max_examples=8, derandomize=True, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
"""How many requests of each kind to each operation, the same in every run."""
JUDGED = {
    ("get", "/v1/components/hosts"),
    ("get", "/v1/components/artifacts"),
    ("post", "/v1/artifacts"),
    ("post", "/v1/revocations/bulk"),
    ("post", "/v1/rules"),
    ("post", "/v1/reinstatements"),
    ("post", "/v1/waivers"),
}
"""What is judged by more than its form."""
DOCUMENT = json.loads(OPENAPI.read_text("utf-8"))


def modes(operation: dict[str, Any]) -> list[GenerationMode]:
    """Good requests, and wrong ones where anything can be wrong: a header may hold any text."""
    places = {parameter["in"] for parameter in operation.get("parameters", [])}
    wrong = "requestBody" in operation or places & {"path", "query"}
    return list(GenerationMode) if wrong else [GenerationMode.POSITIVE]


CASES = [
    (path, method, mode)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    for mode in modes(operation)
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    authority = made(tmp_path_factory.mktemp("openapi") / "acme")
    revoke(authority, *range(5))
    with Live(authority) as server:
        yield server
    authority.close()


@pytest.fixture(scope="module")
def token(live: Live) -> str:
    return live.authority.create_token(Name("all"), STAFF, DAY, ACTOR, NOW)


@pytest.fixture(scope="module")
def api(live: Live) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_url(live.address + "/v1/openapi.json")
    schema.config.generation.update(with_security_parameters=False)
    return schema


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_every_answer_is_as_the_document_says(
    api: schemathesis.BaseSchema, token: str, path: str, method: str, mode: GenerationMode
) -> None:
    excluded = [positive_data_acceptance] if (method, path) in JUDGED else ()

    @BOUNDED
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, excluded_checks=list(excluded))

    ask()
