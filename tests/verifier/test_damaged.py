"""Damaged files of a host's own: who knows the last good state goes on by it until it expires and mends what lies
there; who starts refuses. The table is that of ``docs/spec/trust.md``, "Damaged files".
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.hosts import HostedDeployment, code_of
from tests.live_deployment import LiveDeployment, digest
from verifier.deployment.ground import Opened
from verifier.deployment.home import MAPPED_FROM, Home
from verifier.deployment.last_good import reopen
from verifier.errors import Refused
from verifier.formats import dsse, strict_json
from verifier.formats.push import Announcement
from verifier.formats.revocations import parse_head
from verifier.gate import Gate
from verifier.signatures.keys import PublicKey

Damage = Callable[[Path], object]


def swapped(path: Path) -> None:
    """Another well-formed file of the deployment in its place."""
    other = path.parent.parent / "other"
    data = other.read_bytes() if other.exists() else b'{"v":1}'
    put(path, data)


def put(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


DAMAGE: dict[str, Damage] = {
    "missing": Path.unlink,
    "empty": lambda path: put(path, b""),
    "cut short": lambda path: put(path, path.read_bytes()[:-1]),
    "changed": lambda path: put(path, path.read_bytes()[:-1] + b"\x07"),
    "longer": lambda path: put(path, path.read_bytes() + b"\x00" * 16),
    "swapped": swapped,
}
FILES = {
    "state.json": "list.state",
    "trust/*": "trust.missing",
    "lists/heads/*": "list.missing",
    "lists/segments/*": "list.segments",
    "lists/bases/*": "list.base",
    "lists/rules/*": "list.segments",
}
"""Each file of the host's state, and what a process that starts refuses with when it is damaged."""
CASES = [(file, damage) for file in FILES for damage in DAMAGE]


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        deployment.sim.revoked.append(digest(1))
        deployment.publish_head()
        deployment.refresh()
        yield deployment


def spoil(hosted: HostedDeployment, file: str, damage: str) -> None:
    paths = [path for path in hosted.directory.glob(file) if path.stat().st_size or damage in ("missing", "longer")]
    if not paths:  # the empty base cannot be cut short: it grows instead
        paths, damage = list(hosted.directory.glob(file)), "longer"
    for path in paths:
        path.chmod(0o644)
        DAMAGE[damage](path)


@pytest.mark.parametrize(("file", "damage"), CASES)
def test_a_running_host_goes_on_and_mends_what_a_new_one_refuses(
    hosted: HostedDeployment, file: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    wheel, revoked, gate = hosted.plugin(), hosted.plugin(name="other-plugin"), hosted.gate()
    hosted.revoke(revoked)
    gate.refresh()
    spoil(hosted, file, damage)
    hosted.pass_time(timedelta(minutes=5))
    with caplog.at_level(logging.WARNING):
        facts = gate.verify(wheel)
        assert gate.verify(wheel).warnings == facts.warnings
    assert f"[{FILES[file]}]" in facts.warnings[-1]
    assert [record.message for record in caplog.records] == [facts.warnings[-1]]  # told once
    assert code_of(lambda: gate.verify(revoked)) == "revoked.artifact"
    assert code_of(lambda: Gate(Home(hosted.directory), clock=hosted.clock)) == FILES[file]
    gate.refresh()
    assert gate.verify(wheel).warnings == ()
    assert code_of(lambda: Gate(Home(hosted.directory), clock=hosted.clock).verify(revoked)) == "revoked.artifact"


@pytest.mark.parametrize("file", FILES)
def test_it_goes_on_until_the_last_good_list_expires(hosted: HostedDeployment, file: str) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    spoil(hosted, file, "changed")
    hosted.pass_time(timedelta(hours=30) - timedelta(seconds=1))  # the list's life, and the tier's grace
    assert gate.verify(wheel).list_seq == 1
    hosted.pass_time(timedelta(seconds=1))
    assert code_of(lambda: gate.verify(wheel)) == "list.stale"


def test_it_goes_on_until_the_head_keys_end(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    hosted.publish_head(life=timedelta(days=400))
    gate.refresh()
    spoil(hosted, "state.json", "missing")
    end = hosted.sim.trust().policy.head_keys[0].not_after.instant
    hosted.pass_time(end - hosted.now)
    assert code_of(lambda: gate.verify(wheel)) == "list.key-expired"


def test_a_record_of_something_newer_that_cannot_be_read_is_not_passed_over(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    hosted.revoke(wheel)
    hosted.refresh()  # another process heard of it
    spoil(hosted, "lists/segments/*", "changed")
    assert code_of(lambda: gate.verify(wheel)) == "list.segments"
    gate.refresh()
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"


def test_a_policy_that_is_newer_and_cannot_be_read_is_not_passed_over(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    hosted.policy("plugins.sample_plugin.min_version", "2.0")
    hosted.refresh()
    spoil(hosted, "trust/*", "changed")
    assert code_of(lambda: gate.verify(wheel)) == "trust.missing"


def test_the_whole_directory_may_be_gone(hosted: HostedDeployment, tmp_path: Path) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    hosted.directory.rename(tmp_path / "aside")
    assert "[list.state]" in gate.verify(wheel).warnings[-1]
    assert code_of(gate.refresh) == "io.failed"
    (tmp_path / "aside").rename(hosted.directory)
    assert gate.verify(wheel).warnings == ()


@pytest.mark.parametrize("file", FILES)
def test_a_mended_directory_accepts_nothing_older_than_was_known(hosted: HostedDeployment, file: str) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    older = hosted.server.files["lists/head.json"]
    hosted.revoke(wheel)
    gate.refresh()
    spoil(hosted, file, "missing")
    hosted.pass_time(timedelta(minutes=5))
    hosted.server.files["lists/head.json"] = older
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"
    assert code_of(gate.refresh) == "list.rollback"
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"


def test_a_mended_directory_accepts_no_fork_of_what_was_known(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    hosted.revoke(wheel)
    gate.refresh()
    spoil(hosted, "lists/segments/*", "missing")
    hosted.pass_time(timedelta(minutes=5))
    assert gate.ground.warnings
    hosted.sim.revoked[:] = [digest(1), digest(2), digest(3)]
    hosted.publish_head()
    assert code_of(gate.refresh) == "list.fork"
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"


def test_a_mapped_base_that_was_changed_where_it_lies_is_not_gone_by(tmp_path: Path) -> None:
    with LiveDeployment() as live:
        live.publish_epoch(2, 0, [digest(number) for number in range(MAPPED_FROM // 16 + 1)])
        home = live.host(tmp_path).home
        opened = Opened.at(home, live.now)
        (path,) = (found for found in (tmp_path / "lists/bases").iterdir() if found.stat().st_size)
        path.chmod(0o644)
        with path.open("r+b") as stream:
            stream.write(b"\xff")
        with pytest.raises(Refused) as caught:
            reopen(opened, home, live.now)
        assert caught.value.code == "list.base"


@pytest.mark.parametrize(("file", "code"), [("root.json", "trust.root"), ("host.json", "format.syntax")])
def test_what_was_pinned_is_read_by_who_starts(hosted: HostedDeployment, file: str, code: str) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    spoil(hosted, file, "cut short")
    gate.refresh()
    assert gate.verify(wheel).warnings == ()
    assert code_of(lambda: Home(hosted.directory)) == code


# -- news that cannot be stored ----------------------------------------------------------------------------------------


def pushed(hosted: HostedDeployment) -> Announcement:
    head = hosted.server.files["lists/head.json"]
    name = parse_head(dsse.parse_envelope(head).unverified_payload).segments[-1].sha256
    return Announcement(head, hosted.server.files[f"lists/segments/{name}"])


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can be written; for this process, for so long."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("trouble", ["a lock that cannot be taken", "no record"])
def test_a_pushed_list_holds_though_it_cannot_be_stored(hosted: HostedDeployment, trouble: str) -> None:
    wheel, other, gate = hosted.plugin(), hosted.plugin(name="other-plugin"), hosted.gate()
    hosted.revoke(wheel)
    hosted.server.stop()
    (hosted.directory / "lock").unlink()
    (hosted.directory / "lock").mkdir()
    if trouble == "no record":
        spoil(hosted, "state.json", "missing")
    assert code_of(lambda: gate._hear(pushed(hosted))) == "io.failed"
    assert code_of(lambda: gate.load(wheel)) == "revoked.artifact"
    hosted.pass_time(timedelta(minutes=5))  # the directory is opened again
    assert code_of(lambda: gate.load(wheel)) == "revoked.artifact"
    assert gate.verify(other).list_seq == 2


@pytest.mark.parametrize("trouble", ["a lock that cannot be taken", "a full disk"])
def test_a_fetched_list_holds_though_it_cannot_be_stored(hosted: HostedDeployment, trouble: str) -> None:
    told: list[str] = []
    wheel, other = hosted.plugin(), hosted.plugin(name="other-plugin")
    gate = hosted.gate(on_revoked=lambda plugin, error: told.append(error.found))
    plugin = gate.load(wheel)
    gate.refresh()
    hosted.revoke(wheel)
    if trouble == "a full disk":
        with full_disk():
            assert code_of(gate.refresh) == "io.failed"
    else:
        (hosted.directory / "lock").unlink()
        (hosted.directory / "lock").mkdir()
        assert code_of(gate.refresh) == "io.failed"
    assert len(told) == 1
    assert code_of(plugin.check) == "plugin.revoked"
    hosted.pass_time(timedelta(minutes=5))  # the directory is opened again
    assert code_of(lambda: gate.load(wheel)) == "revoked.artifact"
    assert gate.verify(other).list_seq == 2


def test_what_cannot_be_stored_is_judged_as_any_list(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    older = hosted.server.files["lists/head.json"]
    hosted.revoke(wheel)
    gate.refresh()
    hosted.server.files["lists/head.json"] = older
    (hosted.directory / "lock").unlink()
    (hosted.directory / "lock").mkdir()
    assert code_of(gate.refresh) == "io.failed"
    assert code_of(lambda: gate.load(wheel)) == "revoked.artifact"


def test_trust_that_cannot_be_fetched_for_want_of_room_is_told_as_such(
    hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verifier.refreshing.refresh.STAGING", "nowhere/.staging-")
    assert code_of(hosted.gate().refresh) == "io.failed"


def test_a_pushed_list_that_was_not_stored_falls_with_the_key_that_signed_it(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    hosted.revoke(wheel)
    stolen = pushed(hosted)
    (hosted.directory / "lock").rename(hosted.directory / "aside")
    (hosted.directory / "lock").mkdir()
    assert code_of(lambda: gate._hear(stolen)) == "io.failed"
    (hosted.directory / "lock").rmdir()
    hosted.sim.revoked.pop()
    [head_key] = hosted.sim.rules["head_keys"]
    hosted.sim.lists.head_key = Ed25519PrivateKey.generate()
    key = PublicKey(hosted.sim.lists.head_key.public_key())
    hosted.policy("keys", hosted.sim.rules["keys"] | {key.id: strict_json.plain(key.entry)})
    hosted.policy("head_keys", [head_key | {"key": key.id}])
    hosted.publish_head()
    hosted.refresh()
    assert gate.verify(wheel).list_seq == 1
