"""Every vector of tests/vectors/verification is refused for its reason, or verifies; and every code has a vector."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.scenario import VERBS, Scenario
from verifier.codes import CODES
from verifier.errors import Refused

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "verification"
VECTORS: list[dict[str, Any]] = [
    vector for path in sorted(FOLDER.glob("*.toml")) for vector in tomllib.loads(path.read_text("utf-8"))["vector"]
]
REFUSALS = [vector for vector in VECTORS if "code" in vector]
FIELDS = {"name", "edits", "code", "step", "tier", "why", "origin", "attack"}

ELSEWHERE = {
    "trust.missing": "a host's directory without an enrolment: tests/verifier/test_home.py",
    "list.missing": "a host's directory without a list: tests/verifier/test_home.py",
    "list.state": "a host's directory without its record: tests/verifier/test_home.py",
    "wheel.unreadable": "a file that cannot be read: the commands' business, before verification begins",
    "manifest.entry-point": "asked for after verification, of a loaded plugin, and before it, by the attestor",
    "dependency.too-large": "two gibibytes of wheels: tests/verifier/test_dependencies.py",
    **dict.fromkeys(
        ("signature.identity", "signature.certificate", "signature.log", "signature.time"),
        "takes a Sigstore: tests/verifier/test_keyless.py",
    ),
}
"""Codes of steps 0 to 12 that no vector here can show, and why."""


def identity(vector: dict[str, Any]) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", VECTORS, ids=identity)
def test_vector(vector: dict[str, Any]) -> None:
    scenario = Scenario()
    for edit in vector["edits"]:
        scenario.edit(edit)
    if "tier" in vector:
        facts = scenario.verify()
        assert (facts.tier, facts.artifact_digest) == (vector["tier"], scenario.wheel.digest)
        return
    with pytest.raises(Refused) as caught:
        scenario.verify()
    error = caught.value
    assert error.code == vector["code"], str(error)
    assert error.step == vector.get("step", CODES[error.code].step)
    assert error.todo
    assert str(error).replace("\n", "").isprintable()


def test_every_code_of_the_numbered_steps_has_a_vector() -> None:
    numbered = {code for code, info in CODES.items() if info.step is not None}
    shown = {vector["code"] for vector in REFUSALS}
    assert numbered - shown == set(ELSEWHERE)
    assert len(REFUSALS) >= 60


def test_vectors_are_well_formed() -> None:
    names = [vector["name"] for vector in VECTORS]
    assert len(set(names)) == len(names)
    for vector in VECTORS:
        assert set(vector) <= FIELDS, vector["name"]
        assert ("code" in vector) != ("tier" in vector), vector["name"]
        assert vector["why"], vector["name"]
        assert vector["origin"], vector["name"]
        assert vector.get("code", "set.missing") in CODES, vector["name"]
        assert all(1 <= number <= 62 for number in vector.get("attack", [])), vector["name"]


def test_every_verb_is_used() -> None:
    assert {next(iter(edit)) for vector in VECTORS for edit in vector["edits"]} == set(VERBS)
