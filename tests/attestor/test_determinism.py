"""Two runs on one commit say the same, but for when they ran and as which invocation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from attestor.building.wheelhouse import Wheelhouse
from attestor.pipeline import Attestation, Options, attest_source
from tests.attestor.conftest import NOW, Signers, git
from verifier.formats.bundle import parse_set
from verifier.formats.statement import MANIFEST, PROVENANCE, SBOM

TIME_AND_INVOCATION = {
    (MANIFEST, "predicate.built_at"),
    (PROVENANCE, "predicate.runDetails.metadata.startedOn"),
    (PROVENANCE, "predicate.runDetails.metadata.finishedOn"),
    (PROVENANCE, "predicate.runDetails.metadata.invocationId"),
}


def statements(made: Attestation) -> dict[str, Any]:
    """All that the run said, by type: what it signed, and what awaits its owner."""
    payloads = [bundle.envelope.unverified_payload for bundle in parse_set(made.attestations)]
    documents = [json.loads(payload) for payload in [*payloads, made.unsigned]]
    return {document["predicateType"]: document for document in documents}


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """The places in which two documents differ; lists are compared as wholes."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{place}.{key}".lstrip("."))
    elif one != other:
        yield place


def test_only_time_and_invocation_differ(repository: Path, house: Wheelhouse, signers: Signers, tmp_path: Path) -> None:
    elsewhere = tmp_path / "a clone, é"
    git(tmp_path, "clone", "--quiet", str(repository), str(elsewhere))
    shutil.copy(repository / ".git" / "config", elsewhere / ".git" / "config")  # where it says it came from
    runs = [
        attest_source(
            place, Options(house=house, invocation_id=f"https://host.example/runs/{number}"), signers.builder,
            now=NOW + number * timedelta(days=2),
        )
        for number, place in enumerate((repository, elsewhere))
    ]  # fmt: skip
    first, second = map(statements, runs)
    assert set(first) == set(second) == {PROVENANCE, SBOM, MANIFEST}
    found = {(kind, place) for kind in first for place in differences(first[kind], second[kind])}
    assert found == TIME_AND_INVOCATION
    assert runs[0].log == runs[1].log
    assert runs[0].wheel == runs[1].wheel
