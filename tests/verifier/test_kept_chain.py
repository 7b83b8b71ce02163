"""That a repository was verified before is known for exactly its bytes, and nothing else is spared for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loadlock.testing.documents import Documents
from loadlock.testing.repository import TufRepository
from tests.hosts import HostedDeployment, code_of
from tests.verifier.kept_entries import OPEN_MODES, POISONS, entry_of, exchange
from verifier.deployment import chain as chain_module
from verifier.deployment import tuf_chain
from verifier.deployment.chain import KnownChain
from verifier.deployment.trust import Trust, verify_trust
from verifier.errors import Refused
from verifier.private_cache import PrivateCache

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOCUMENTS = Documents()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the cache of a test lies."""
    return tmp_path / "cache"


@pytest.fixture
def repo() -> TufRepository:
    return TufRepository(NOW, DOCUMENTS.policy(NOW), DOCUMENTS.checkpoint())


def trust_of(repo: TufRepository, place: Path) -> Trust:
    return verify_trust(repo.pinned, *repo.state(), PrivateCache(place))


def was_verified(repo: TufRepository, place: Path) -> bool:
    """Whether the chain was verified and not known; what comes of it is the same in either case."""
    verified = []

    def watched(*of: object) -> object:
        verified.append(of)
        return verify(*of)  # type: ignore[arg-type]

    verify = tuf_chain.verify_chain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuf_chain, "verify_chain", watched)
        found = trust_of(repo, place)
    assert found == verify_trust(repo.pinned, *repo.state())
    return bool(verified)


def test_the_same_is_verified_once(repo: TufRepository, place: Path) -> None:
    assert [was_verified(repo, place) for _ in range(3)] == [True, False, False]


def changed(repo: TufRepository, name: str) -> None:
    metadata, files = repo.state()
    data = (metadata if name in metadata else files)[name]
    real = repo.state
    at = data.index(b"e")
    other = data[:at] + b"f" + data[at + 1 :]
    repo.state = lambda: (  # type: ignore[method-assign]
        {**real()[0], **({name: other} if name in metadata else {})},
        {**real()[1], **({name: other} if name in files else {})},
    )


@pytest.mark.parametrize(
    "name", ["timestamp.json", "snapshot.json", "targets.json", "checkpoints.json", "policy.json", "checkpoint"]
)
def test_whatever_is_changed_is_verified_and_refused(name: str, repo: TufRepository, place: Path) -> None:
    trust_of(repo, place)
    changed(repo, "checkpoints/checkpoint.json" if name == "checkpoint" else name)
    with pytest.raises(Refused) as refusal:
        trust_of(repo, place)
    assert refusal.value.code == "trust.metadata"


def test_a_refusal_is_not_kept(repo: TufRepository, place: Path) -> None:
    changed(repo, "policy.json")
    for _ in range(2):
        with pytest.raises(Refused):
            trust_of(repo, place)
    assert [path.name for path in place.iterdir()] == ["key"]


def test_another_pinned_root_is_another_entry(repo: TufRepository, place: Path) -> None:
    trust_of(repo, place)
    other = TufRepository(NOW, DOCUMENTS.policy(NOW), DOCUMENTS.checkpoint())
    with pytest.raises(Refused) as refusal:
        verify_trust(other.pinned, *repo.state(), PrivateCache(place))
    assert refusal.value.code.startswith("trust.")


@pytest.mark.parametrize("moved", ["policy.json", "timestamp.json"])
def test_a_file_of_another_name_is_another_entry(moved: str, repo: TufRepository, place: Path) -> None:
    trust_of(repo, place)
    metadata, files = repo.state()
    more = {f"other-{moved}": (metadata if moved in metadata else files)[moved]}
    with pytest.raises(Refused) as refusal:
        verify_trust(repo.pinned, {**metadata, **more}, files, PrivateCache(place))
    assert refusal.value.code == "trust.metadata"


def test_other_code_verifies_again(repo: TufRepository, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust_of(repo, place)
    monkeypatch.setattr(chain_module, "this_code", lambda *_: b"other")
    assert was_verified(repo, place)


def keep_another(place: Path) -> None:
    """Verify another repository, whose roles have higher versions."""
    repo = TufRepository(NOW, DOCUMENTS.policy(NOW), DOCUMENTS.checkpoint())
    repo.publish_policy(NOW, DOCUMENTS.policy(NOW))
    trust_of(repo, place)


@pytest.mark.parametrize("poison", POISONS)
def test_attack_53_an_entry_that_is_not_authentic_is_none(poison: str, repo: TufRepository, place: Path) -> None:
    trust_of(repo, place)
    POISONS[poison](entry_of(place))
    assert was_verified(repo, place)


def test_attack_53_an_entry_of_another_repository_is_none(repo: TufRepository, place: Path) -> None:
    trust_of(repo, place)
    exchange(entry_of(place), keep_another)
    assert was_verified(repo, place)


@pytest.mark.parametrize("mode", OPEN_MODES)
def test_a_cache_that_others_may_enter_is_not_asked(mode: int, repo: TufRepository, place: Path) -> None:
    trust_of(repo, place)
    place.chmod(mode)
    assert was_verified(repo, place)


def test_trusted_roots_come_back(place: Path) -> None:
    repo = TufRepository(NOW, DOCUMENTS.policy(NOW), DOCUMENTS.checkpoint())
    known = KnownChain(PrivateCache(place), repo.pinned, *repo.state())
    chain = tuf_chain.verify_chain(repo.pinned, *repo.state())
    known.remember(chain)
    assert known.recall() == chain


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


OPEN = """
import sys
from verifier import Gate
Gate.open(sys.argv[1], cache=sys.argv[2])
print(*(name in sys.modules for name in ("tuf", "securesystemslib", "cryptography.hazmat")))
"""


def test_a_second_start_imports_neither_tuf_nor_cryptography(hosted: HostedDeployment, place: Path) -> None:
    def start() -> str:
        command = [sys.executable, "-c", OPEN, str(hosted.directory), str(place)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert [start(), start()] == ["True True True", "False False False"]
    hosted.revoke(hosted.plugin())  # a new head: it is verified, and the start after that knows it
    hosted.refresh()
    assert [start(), start()] == ["False False True", "False False False"]


def test_time_and_floor_are_judged_each_time(hosted: HostedDeployment, place: Path) -> None:
    """Attacks 33, 46 and 48: what is kept says nothing of whether it is still in force, or new enough."""
    wheel, record = hosted.plugin(), hosted.directory / "state.json"
    hosted.gate(cache=place).verify(wheel)
    old, files = json.loads(record.read_bytes()), hosted.directory / "trust"
    kept = {path: path.read_bytes() for path in files.iterdir()}
    hosted.policy("version", hosted.sim.rules["version"] + 1)
    hosted.refresh()
    hosted.gate(cache=place).verify(wheel)
    new = json.loads(record.read_bytes())
    assert old["trust"] != new["trust"]
    for path, content in kept.items():
        path.write_bytes(content)
    record.write_text(json.dumps({**new, "trust": old["trust"]}))
    assert code_of(lambda: hosted.gate(cache=place)) == "trust.rollback"
    record.write_text(json.dumps(new))
    hosted.pass_time(timedelta(days=4000))
    assert code_of(lambda: hosted.gate(cache=place).verify(wheel)) in {"trust.expired", "list.key-expired"}
