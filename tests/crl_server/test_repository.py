"""The TUF repository on disk: what it signs verifies as hosts verify it, at every moment of writing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import crl_server.trust.trust_files
from crl_server.lists.rules import first_checkpoint
from crl_server.trust.repository import Repository
from crl_server.trust.signing import SigningKey
from crl_server.trust.tuf_roles import OfflineKeys
from loadlock.testing.documents import Documents
from verifier.errors import LoadlockError, Unreachable
from verifier.files import write_atomic
from verifier.formats.revocations import dump
from verifier.formats.text import Name

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Keys:
    """All keys of one repository."""

    def __init__(self) -> None:
        made = [SigningKey.generate() for _ in range(5)]
        self.offline = OfflineKeys((made[0], made[1]), made[2], (made[3], made[4]))
        self.online = SigningKey.generate()


DOCUMENTS = Documents()
KEYS = Keys()


def policy(version: int = 1) -> bytes:
    return DOCUMENTS.policy(NOW, version=version)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    new = Repository(tmp_path / "trust")
    new.create(KEYS.offline, KEYS.online, policy(), dump(first_checkpoint(Name("acme"))), NOW + 30 * DAY, NOW)
    return new


def publish(repository: Repository, version: int = 2, key: SigningKey | None = None) -> None:
    signer = key or KEYS.offline.targets
    repository.publish_policy(policy(version), signer, KEYS.online, NOW + 30 * DAY, NOW + DAY)


def without(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def with_garbage(name: str, data: bytes) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        (directory / name).write_bytes(data)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        without("metadata/timestamp.json"),
        without("metadata/1.root.json"),
        without("metadata/1.snapshot.json"),
        without("metadata/1.targets.json"),
        without("metadata/1.checkpoints.json"),
        with_garbage("metadata/timestamp.json", b"{}"),
        with_garbage("metadata/timestamp.json", b"[]"),
        with_garbage("metadata/1.snapshot.json", b"not json"),
        with_garbage("metadata/2.root.json", b"{}"),
    ],
)
def test_a_damaged_repository_is_refused_and_not_signed_over(
    repository: Repository, damage: Callable[[Path], None]
) -> None:
    damage(repository.directory)
    for use in (repository.trust, lambda: publish(repository), lambda: repository.renew(KEYS.online, NOW + 9 * DAY)):
        with pytest.raises(LoadlockError) as caught:
            use()
        assert caught.value.code.startswith("trust.")


def test_a_policy_signed_by_another_key_is_refused_and_nothing_is_written(repository: Repository) -> None:
    before = sorted(repository.directory.rglob("*"))
    for stranger in (SigningKey.generate(), KEYS.online, KEYS.offline.roots[0]):
        with pytest.raises(LoadlockError) as caught:
            publish(repository, key=stranger)
        assert caught.value.code == "usage.key"
    assert sorted(repository.directory.rglob("*")) == before


def test_a_crash_at_any_write_leaves_the_old_policy_or_the_new_one(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for survived in range(4):
        writes = 0

        def failing(path: Path, data: bytes, mode: int = 0o644, limit: int = survived) -> None:
            nonlocal writes
            writes += 1
            if writes > limit:
                raise Unreachable("io.failed", "the disk is full")
            write_atomic(path, data, mode)

        monkeypatch.setattr(crl_server.trust.trust_files, "write_atomic", failing)
        with pytest.raises(Unreachable):
            publish(repository)
        assert repository.trust().policy.version == 1
    monkeypatch.setattr(crl_server.trust.trust_files, "write_atomic", write_atomic)
    publish(repository)
    assert repository.trust().policy.version == 2
    assert repository.trust().targets_version == 2


def test_a_new_repository_verifies_and_lasts_as_stated(repository: Repository) -> None:
    trust = repository.trust()
    assert trust.policy.version == 1
    assert trust.checkpoint.epoch == 1
    assert {name: (role.version, role.expires - NOW) for name, role in trust.roles.items()} == {
        "root": (1, 365 * DAY),
        "targets": (1, 30 * DAY),
        "checkpoints": (1, 365 * DAY),
        "snapshot": (1, 7 * DAY),
        "timestamp": (1, DAY),
    }


def test_the_layout_is_what_tuf_clients_ask_for(repository: Repository) -> None:
    names = {str(path.relative_to(repository.directory)) for path in repository.directory.rglob("*.json")}
    fixed = {f"metadata/{name}" for name in ("1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json")}
    assert fixed | {"metadata/1.checkpoints.json"} <= names
    targets = [name.partition("/")[2] for name in names if name.startswith("targets/")]
    assert sorted(re.sub("[0-9a-f]{64}", "<sha256>", name) for name in targets) == [
        "<sha256>.policy.json",
        "checkpoints/<sha256>.checkpoint.json",
    ]


def test_a_policy_never_outlives_thirty_days(repository: Repository) -> None:
    repository.publish_policy(policy(2), KEYS.offline.targets, KEYS.online, NOW + 400 * DAY, NOW)
    assert repository.trust().roles["targets"].expires == NOW + 30 * DAY


@pytest.mark.parametrize(
    ("hours", "renewed", "snapshot", "timestamp"),
    [(0, False, 1, 1), (12, False, 1, 1), (13, True, 1, 2), (24 * 4, True, 2, 2), (24 * 400, True, 2, 2)],
)
def test_the_online_roles_are_renewed_when_half_of_their_time_is_gone(
    repository: Repository, hours: int, renewed: bool, snapshot: int, timestamp: int
) -> None:
    later = NOW + timedelta(hours=hours)
    assert repository.renew(KEYS.online, later) is renewed
    roles = repository.trust().roles
    assert (roles["snapshot"].version, roles["timestamp"].version) == (snapshot, timestamp)
    assert roles["timestamp"].expires > later
    assert repository.renew(KEYS.online, later) is False
