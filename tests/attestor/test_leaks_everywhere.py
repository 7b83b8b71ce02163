"""Nothing private gets into any place of any statement: each string and key of real ones is tried, one by one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from attestor.checking.audit import MAX_AGE, audit_over_database
from attestor.checking.osv import read_database
from attestor.checking.review import Keys
from attestor.pipeline import Attestation
from attestor.signing.certify import Terms, certify
from attestor.signing.endorse import endorse
from attestor.signing.statements import draft, gate_of
from tests.attestor.advisories import advisory, write
from tests.attestor.conftest import NOW, Signers
from verifier.errors import Refused
from verifier.formats.bundle import parse_set
from verifier.formats.statement import (
    CERTIFICATION,
    MANIFEST,
    PROVENANCE,
    SBOM,
    TEST_RESULT,
    VULNERABILITIES,
    parse_statement,
)
from verifier.formats.strict_json import dumps, plain
from verifier.wheels.wheel import read_wheel

# Taken apart, so that this file does not look like what it tests.
PLANTS = {
    "a credential": "https://alice:hunter2@host.example/x",
    "a token": "gl" + "pat-" + "a" * 20,
    "a path": "/ho" + "me/alice/project/x",
    "a name": "built by marguerite",
    "a download": "https://files.example/x-1.0-py3-none-any.whl",
    "a secret of the environment": "no-shape-anybody-knows",
}
KINDS = (PROVENANCE, SBOM, MANIFEST, VULNERABILITIES, TEST_RESULT, CERTIFICATION)
Path = tuple[str | int, ...]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose user and secrets are known."""
    monkeypatch.setenv("USER", "marguerite")
    monkeypatch.setenv("CI_JOB_TOKEN", "no-shape-anybody-knows")


@pytest.fixture(scope="module")
def predicates(
    attested: Attestation, signers: Signers, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """The predicates of every kind of statement that is signed, of one honest plugin."""
    builders = [signers.builder.public_key]
    keys: Keys = {"builder": builders, "owner": [signers.owner.public_key]}
    done = endorse(
        attested.wheel, attested.file_name, attested.attestations, attested.unsigned, signers.owner, builders, now=NOW
    )
    terms = Terms("core", NOW + timedelta(days=30), ["Reviewed again after each change."])
    whole = certify(attested.wheel, attested.file_name, done.attestations, signers.certifier, keys, terms, now=NOW)
    found = {}
    for bundle in parse_set(whole.attestations):
        statement = parse_statement(bundle.envelope.unverified_payload)
        found[statement.predicate_type] = json.loads(statement.predicate)
    place = write(tmp_path_factory.mktemp("osv") / "db", {"X-1.json": advisory(modified=f"{NOW:%Y-%m-%dT%H:%M:%SZ}")})
    audit = audit_over_database(attested.manifest, read_database(place, NOW), now=NOW, max_age=MAX_AGE)
    found[VULNERABILITIES] = plain(audit.predicate)
    found[TEST_RESULT] = {
        "result": "WARNED", "configuration": [{"name": "source", "uri": "git+https://host.example/x.git"}],
        "warnedTests": ["egress-tests"],
        "checks": [{"name": "egress-tests", "reason": "none ran", "waiver": {"reason": "It has no egress."}}],
    }  # fmt: skip
    return found


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, bool]]:
    """Where every string and (True) every key of a document is."""
    if isinstance(value, str):
        yield path, False
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key), True
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))


def planted(document: dict[str, Any], path: Path, text: str, *, key: bool) -> dict[str, Any]:
    """A copy of the document with one string, or key, replaced."""
    made = copy.deepcopy(document)
    inside: Any = made
    for step in path[:-1]:
        inside = inside[step]
    if key:
        inside[text] = inside.pop(path[-1])
    else:
        inside[path[-1]] = text
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_honest_statement_passes(kind: str, attested: Attestation, predicates: dict[str, dict[str, Any]]) -> None:
    wheel = read_wheel(attested.wheel, attested.file_name)
    draft(wheel, kind, dumps(predicates[kind]), gate_of(attested.manifest))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plant", PLANTS)
def test_no_place_of_a_statement_lets_it_through(
    kind: str, plant: str, attested: Attestation, predicates: dict[str, dict[str, Any]]
) -> None:
    wheel, gate, text = read_wheel(attested.wheel, attested.file_name), gate_of(attested.manifest), PLANTS[plant]
    tried = list(leaves(predicates[kind]))
    assert len(tried) > 5
    for path, key in tried:
        with pytest.raises(Refused) as caught:
            draft(wheel, kind, dumps(planted(predicates[kind], path, text, key=key)), gate)
        assert caught.value.code == "leak.found", path
        assert text not in str(caught.value)


def test_a_declared_path_excuses_paths_in_the_manifest_alone(attested: Attestation) -> None:
    wheel, gate = read_wheel(attested.wheel, attested.file_name), gate_of(attested.manifest)
    for kind, passes in ((MANIFEST, True), (PROVENANCE, False), (SBOM, False)):
        predicate = dumps({"allowed_paths": ["/tmp/rows/"], "config_defaults": {"spool": "/tmp/rows/new"}})
        if passes:
            draft(wheel, kind, predicate, gate)
            continue
        with pytest.raises(Refused):
            draft(wheel, kind, predicate, gate)
