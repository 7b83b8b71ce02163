"""What the registry answers: searches, pages, versions, evidence, and who brings a component."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, event

from crl_server.access.roles import Identity
from crl_server.plugins.admission import Upload
from crl_server.revocation.revoking import Order
from crl_server.revocation.standing import NewRule
from crl_server.trust import policies
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, made, revoke
from tests.crl_server.live import Live, refusal
from tests.crl_server.takebacks import admit, subject
from tests.crl_server.test_api import ROLE_OF_PERSON
from tests.crl_server.test_cli import run
from tests.simulator import PluginWheel, Simulator
from verifier.formats.revocations import sha256_hex
from verifier.formats.statement import MANIFEST, SBOM
from verifier.formats.text import Name, PluginId

PLUGINS: dict[str, dict[str, Any]] = {
    "csv_exporter": {},
    "rows": {"description": "counts them", "owner": "team-b", "maturity": "beta"},
    "parquet_exporter": {"description": "writes rows as Parquet", "hooks": []},
    "net": {"kind": "connector", "capabilities": [{"name": "network"}], "description": "talks", "hooks": []},
}


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(NOW)


@pytest.fixture(scope="module")
def wheel(simulator: Simulator) -> PluginWheel:
    return simulator.wheel()


@pytest.fixture(scope="module")
def attestations(simulator: Simulator, wheel: PluginWheel) -> bytes:
    return simulator.attest(wheel)


@pytest.fixture(scope="module")
def live(
    engine: str,
    tmp_path_factory: pytest.TempPathFactory,
    simulator: Simulator,
    wheel: PluginWheel,
    attestations: bytes,
) -> Iterator[Live]:
    authority = made(tmp_path_factory.mktemp(engine) / "acme", "production")
    office = authority.office()
    text = office.text()
    for name, tier in ROLE_OF_PERSON.items():
        text = policies.with_principal(text, Name(name), simulator.people[name].public, tier)  # type: ignore[arg-type]
    roles = ([Name("builder")], [Name("owner")], [Name("certifier")])
    office.sign_policy(policies.with_plugin(text, PluginId("sample_plugin"), *roles, None), ACTOR, NOW)
    authority.admit(Upload(wheel.file_name, wheel.data, attestations), Identity(ACTOR, frozenset({"publisher"})), NOW)
    for plugin, declared in PLUGINS.items():
        for number, version in enumerate(("1.10", "1.9", "1.2")):
            known = subject(f"{plugin} {version}", plugin=plugin, version=version)
            admit(authority, known, NOW + number * HOUR, **declared)
    revoke(authority, "csv_exporter 1.10", *(f"net {version}" for version in ("1.10", "1.9", "1.2")))
    with Live(authority) as server:
        yield server
    authority.close()


@pytest.fixture(scope="module")
def token(live: Live) -> str:
    return live.authority.create_token(Name("reader"), ["auditor"], DAY, ACTOR, NOW)


def found(live: Live, token: str, query: str) -> list[str]:
    return [row["plugin_id"] for row in live.ask("GET", f"/v1/plugins?{query}", token).json["plugins"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=rows", ["rows", "csv_exporter", "parquet_exporter"]),
        ("q=rows%20csv", ["csv_exporter"]),
        ("q=network", ["sample_plugin", "net"]),
        ("q=exporter&owner=team-a", ["csv_exporter", "parquet_exporter"]),
        ("capability=network", ["net", "sample_plugin"]),
        ("hook=rows.written", ["csv_exporter", "rows"]),
        ("maturity=beta", ["rows"]),
        ("kind=connector", ["net"]),
        ("q=nothing", []),
        ("", ["csv_exporter", "net", "parquet_exporter", "rows", "sample_plugin"]),
    ],
)
def test_plugins_are_found_and_ranked(live: Live, token: str, query: str, expected: list[str]) -> None:
    assert found(live, token, query) == expected


@pytest.mark.parametrize("query", ["", "q=e", "q=rows"])
def test_a_ranking_is_paged_without_gaps_or_repeats(live: Live, token: str, query: str) -> None:
    whole, after, pages = found(live, token, query), "", []
    while True:
        page = live.ask("GET", f"/v1/plugins?{query}&limit=1&after={after}", token).json
        pages += [row["plugin_id"] for row in page["plugins"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert pages == whole


@pytest.mark.parametrize(
    "query", ["after=%00", "after=..", "q=" + "+".join("abcdefghi"), "colour=red", "limit=1&limit=2"]
)
def test_a_question_that_makes_no_sense_is_refused(live: Live, token: str, query: str) -> None:
    answer = live.ask("GET", f"/v1/plugins?{query}", token)
    refusal(answer, 400, "usage.arguments" if query.startswith("q=") else "request.invalid")


def test_a_card_shows_the_newest_release_that_is_not_revoked(live: Live, token: str) -> None:
    rows = {row["plugin_id"]: row for row in live.ask("GET", "/v1/plugins", token).json["plugins"]}
    shown = {name: (rows[name]["latest"], rows[name]["artifacts"], rows[name]["revoked"]) for name in PLUGINS}
    assert shown == {
        "csv_exporter": ("1.9", 3, False),
        "rows": ("1.10", 3, False),
        "parquet_exporter": ("1.10", 3, False),
        "net": ("1.10", 3, True),
    }


def test_the_versions_of_a_plugin_are_paged_the_last_admitted_first(live: Live, token: str) -> None:
    versions, after = [], ""
    for _ in range(5):
        page = live.ask("GET", f"/v1/plugins/rows?limit=1{after}", token).json
        versions += [row["version"] for row in page["artifacts"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert versions == ["1.2", "1.9", "1.10"]
    other = live.ask("GET", f"/v1/plugins/rows?after={digest('net 1.2')}", token)
    refusal(other, 404, "registry.unknown")


def test_evidence_set_and_sbom_are_handed_out_byte_for_byte(
    live: Live, token: str, wheel: PluginWheel, attestations: bytes
) -> None:
    base = f"/v1/artifacts/{wheel.digest}"
    whole = live.ask("GET", f"{base}/attestations", token)
    assert (whole.body, whole.headers["content-type"]) == (attestations, "application/jsonl")
    evidence = live.ask("GET", f"{base}/evidence", token).json
    assert evidence["set_digest"] == f"sha256:{sha256_hex(attestations)}"
    signers = {row["predicate_type"]: row["signer"] for row in evidence["statements"]}
    assert (signers[MANIFEST], signers[SBOM], len(signers)) == ("owner", "builder", 4)
    sbom = live.ask("GET", f"{base}/sbom", token)
    assert sbom.headers["content-type"] == "application/vnd.cyclonedx+json"
    detail = live.ask("GET", base, token).json
    assert detail["manifest"]["sbom_digest"] == f"sha256:{sha256_hex(sbom.body)}"
    again = live.ask("GET", f"{base}/sbom", token, headers={"If-None-Match": sbom.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("what", ["", "/evidence", "/attestations", "/sbom"])
def test_what_the_registry_does_not_know_is_told(live: Live, token: str, what: str) -> None:
    refusal(live.ask("GET", f"/v1/artifacts/{digest('never')}{what}", token), 404, "registry.unknown")


def test_which_artifacts_bring_a_component(live: Live, token: str, wheel: PluginWheel) -> None:
    def bring(purl: str, versions: str = "") -> list[str]:
        query = f"purl={quote(purl)}" + (f"&range={quote(versions)}" if versions else "")
        rows, after = [], ""
        while True:
            page = live.ask("GET", f"/v1/components/artifacts?{query}&limit=5{after}", token).json
            rows += page["artifacts"]
            if page["next"] is None:
                return [row["digest"] for row in rows]
            after = f"&after={page['next']}"

    all_of_them = sorted(digest(f"{plugin} {version}") for plugin in PLUGINS for version in ("1.10", "1.9", "1.2"))
    assert bring("pkg:pypi/requests") == bring("pkg:pypi/Requests", "<2.32") == all_of_them
    assert bring("pkg:pypi/requests", ">=2.32") == []
    assert bring("pkg:pypi/attrs") == [wheel.digest]
    for query in ("purl=nothing", "purl=pkg%3Apypi%2Fa&range=new"):
        refusal(live.ask("GET", f"/v1/components/artifacts?{query}", token), 400, "usage.arguments")


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is put to any database meanwhile."""
    asked: list[str] = []

    def hear(*told: Any) -> None:
        asked.append(told[2])

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


def test_a_question_about_all_artifacts_reads_the_sets_of_none(live: Live, token: str) -> None:
    # Whoever reads may ask, and sets are as large as their publishers make them: they would all be in memory at once.
    purl, plugin, asker = quote("pkg:pypi/requests"), "csv_exporter", live.authority
    with statements() as asked:
        assert live.ask("GET", f"/v1/components/artifacts?purl={purl}", token).json["artifacts"]
        assert live.ask("GET", f"/v1/components/hosts?purl={purl}", token).json["artifacts"]
        assert live.ask("GET", f"/v1/plugins/{plugin}", token).json["artifacts"]
        assert asker.radius(NewRule("plugin", {"id": plugin}, "malicious"), NOW).artifacts == 3
        assert asker.radius(Order((digest(f"{plugin} 1.9"), digest("never")), "malicious"), NOW).artifacts == 1
    assert any("artifact.subject" in words for words in asked)
    assert not [words for words in asked if "artifact.attestations" in words or "artifact.record" in words]


def test_the_command_finds_what_the_registry_finds(live: Live, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADLOCK_TOKEN", token)
    told = run("plugins", "ls", "--server", live.address, "--search", "rows")
    assert [row["plugin_id"] for row in told["plugins"]] == ["rows", "csv_exporter", "parquet_exporter"]
