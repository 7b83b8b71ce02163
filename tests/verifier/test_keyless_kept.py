"""Keyless sets whose verdict is kept: under the trusted root, the identities and all libraries that judge them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from tests.hosts import code_of
from tests.sigstore import PrivateSigstore
from tests.verifier.keyless_world import HOST, World, ended
from verifier import this_code as code
from verifier.judging.steps import Outcome
from verifier.judging.verdicts import Verdicts
from verifier.judging.verify import verify
from verifier.private_cache import PrivateCache
from verifier.signatures.identities import LIBRARIES


class Start:
    """A host's starts: what each makes of one set, and whether it knew it."""

    def __init__(self, sigstore: PrivateSigstore, place: Path) -> None:
        self.world = World(sigstore)
        self.place = place
        self.attestations = self.world.attest()
        self.judge()

    def judge(self) -> bool:
        """Whether the set was known; it is let in in any case."""
        code.this_code.cache_clear()
        sim, wheel, steps = self.world.sim, self.world.wheel, list[Outcome]()
        kept = Verdicts(PrivateCache(self.place))
        ground = sim.ground(sim.started)
        verify(wheel.data, wheel.file_name, self.attestations, ground, sim.started, HOST, steps.append, verdicts=kept)
        return "before" in steps[3].detail


@pytest.fixture
def start(sigstore: PrivateSigstore, tmp_path: Path) -> Iterator[Start]:
    yield Start(sigstore, tmp_path / "cache")
    code.this_code.cache_clear()


def test_a_keyless_set_is_weighed_once(start: Start) -> None:
    assert start.judge()


@pytest.mark.parametrize("library", LIBRARIES)
def test_another_release_of_a_library_is_asked_again(
    start: Start, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.py").touch()
    other = ModuleSpec(library, None, origin=str(tmp_path / "other.py"))
    monkeypatch.setattr(code, "find_spec", lambda name: other if name == library else importlib.util.find_spec(name))
    assert not start.judge()
    monkeypatch.undo()
    assert start.judge()


@pytest.mark.parametrize(
    ("part", "index", "refusal"),
    [
        ("tlogs", 1, "signature.log"),
        ("certificateAuthorities", 0, "signature.certificate"),
        ("timestampAuthorities", 0, "signature.time"),
    ],
)
def test_what_has_ended_since_by_another_trusted_root_counts_for_nothing(
    start: Start, part: str, index: int, refusal: str
) -> None:
    start.world.root(ended(start.world.sigstore.trusted_root(), part, index))
    assert code_of(start.judge) == refusal


def test_an_identity_that_is_another_since_counts_for_nothing(start: Start) -> None:
    start.world.sim.policy("principals.builder.workflow.repository_id", "815")
    assert code_of(start.judge) == "signature.identity"


def test_a_timestamp_that_is_demanded_since_has_to_be_there(sigstore: PrivateSigstore, tmp_path: Path) -> None:
    start = Start(sigstore, tmp_path)
    start.world.config = sigstore.trust_config(1, timestamps=False)
    start.world.people = World(sigstore, 1, timestamps=False).people
    start.attestations = start.world.attest()
    start.judge()
    assert start.judge()
    start.world.root(sigstore.trusted_root(), timestamp=True)
    assert code_of(start.judge) == "signature.time"
