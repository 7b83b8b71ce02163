"""A host's directory: whatever is missing, damaged or older than before refuses; one record moves everything."""

from __future__ import annotations

import mmap
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tests.live_deployment import LiveDeployment, digest
from verifier.deployment.blobs import writing
from verifier.deployment.home import MAPPED_FROM, Home, State
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.formats import strict_json
from verifier.formats.enrolment import Floor
from verifier.formats.revocations import PREFIX
from verifier.formats.text import Hex, Time
from verifier.refreshing.refresh import Refresher


@pytest.fixture
def live() -> Iterator[LiveDeployment]:
    with LiveDeployment() as deployment:
        yield deployment


@pytest.fixture
def host(live: LiveDeployment, tmp_path: Path) -> Refresher:
    return live.host(tmp_path / "host")


def code_of(home: Home, now: datetime) -> str:
    with pytest.raises(LoadlockError) as caught:
        home.in_force(now)
    return caught.value.code


def put_state(home: Home, **changes: object) -> None:
    """Overwrite the record without asking, as an attacker does."""
    (home.directory / "state.json").write_bytes(strict_json.dumps(msgspec.structs.replace(home.state(), **changes)))


def overwrite(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


# -- enrolment --------------------------------------------------------------------------------------------------------


def test_a_directory_without_enrolment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        Home(tmp_path)
    assert caught.value.code == "trust.missing"


def test_a_second_enrolment_is_refused_and_changes_nothing(live: LiveDeployment, tmp_path: Path) -> None:
    home = live.enroll(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError) as caught:
        live.enroll(tmp_path)
    assert caught.value.code == "usage.exists"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert home.host.floor == Floor(root=1, targets=1, epoch=1, seq=0)


def test_half_an_enrolment_is_none(live: LiveDeployment, tmp_path: Path) -> None:
    live.enroll(tmp_path)
    (tmp_path / "host.json").unlink()
    with pytest.raises(Refused) as caught:
        Home(tmp_path)
    assert caught.value.code == "trust.missing"
    live.enroll(tmp_path)


@pytest.mark.parametrize("change", [lambda root: root[:-1], lambda root: root + b" ", lambda root: b""])
def test_another_root_than_the_pinned_one_is_refused(host: Refresher, change: object) -> None:
    path = host.home.directory / "root.json"
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(Refused) as caught:
        Home(host.home.directory)
    assert caught.value.code == "trust.root"


def test_a_missing_root_is_refused(host: Refresher) -> None:
    (host.home.directory / "root.json").unlink()
    with pytest.raises(Refused) as caught:
        Home(host.home.directory)
    assert caught.value.code == "trust.root"


@pytest.mark.parametrize("text", [b"", b"{}", b'{"v":1}', b'{"v":1,"v":1}', b"x" * 70_000])
def test_a_malformed_host_record_is_refused(host: Refresher, text: bytes) -> None:
    (host.home.directory / "host.json").write_bytes(text)
    with pytest.raises(LoadlockError) as caught:
        Home(host.home.directory)
    assert caught.value.code.startswith("format.")


# -- the record -------------------------------------------------------------------------------------------------------


def test_before_the_first_pass_nothing_is_in_force(live: LiveDeployment, tmp_path: Path) -> None:
    home = live.enroll(tmp_path)
    with pytest.raises(Refused) as caught:
        home.in_force(live.now)
    assert caught.value.code == "trust.missing"
    assert "host sync" in caught.value.todo


def test_a_missing_record_is_refused_also_by_the_refresh_of_a_new_process(
    live: LiveDeployment, host: Refresher
) -> None:
    (host.home.directory / "state.json").unlink()
    assert code_of(host.home, live.now) == "list.state"
    with pytest.raises(Refused) as caught:
        Refresher(host.home).refresh(live.now)
    assert caught.value.code == "list.state"


def test_a_missing_record_is_written_anew_by_who_knows_what_it_said(live: LiveDeployment, host: Refresher) -> None:
    path = host.home.directory / "state.json"
    before = path.read_bytes()
    path.unlink()
    host.refresh(live.now)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", [b"", b"{}", b'{"v":1,"seen":null}', b"\x00", b"{" * 100_000])
def test_a_damaged_record_is_refused(live: LiveDeployment, host: Refresher, text: bytes) -> None:
    (host.home.directory / "state.json").write_bytes(text)
    assert code_of(host.home, live.now) == "list.state"


def test_a_record_of_unknown_fields_is_refused(live: LiveDeployment, host: Refresher) -> None:
    path = host.home.directory / "state.json"
    path.write_bytes(path.read_bytes()[:-1] + b',"extra":1}')
    assert code_of(host.home, live.now) == "list.state"


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("root", "trust.rollback"),
        ("targets", "trust.rollback"),
        ("checkpoints", "trust.rollback"),
        ("epoch", "trust.rollback"),
        ("seq", "list.rollback"),
    ],
)
def test_what_is_stored_below_what_was_seen_is_refused(
    live: LiveDeployment, host: Refresher, field: str, code: str
) -> None:
    seen = host.home.state().seen
    put_state(host.home, seen=msgspec.structs.replace(seen, **{field: getattr(seen, field) + 1}))
    assert code_of(host.home, live.now) == code


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("root", "trust.rollback"),
        ("targets", "trust.rollback"),
        ("epoch", "trust.rollback"),
        ("seq", "list.rollback"),
    ],
)
def test_what_is_stored_below_the_enrolled_floor_is_refused(
    live: LiveDeployment, tmp_path: Path, field: str, code: str
) -> None:
    """A host whose whole directory but its enrolment was put back to an older state."""
    live.revoke(digest(1))
    host = live.host(tmp_path)
    record = host.home.host
    higher = msgspec.structs.replace(record.floor, **{field: 9})
    (tmp_path / "host.json").write_bytes(strict_json.dumps(msgspec.structs.replace(record, floor=higher)))
    home = Home(tmp_path)
    if field == "seq":  # a floor of an epoch counts within that epoch; the record of what was seen is there too
        put_state(home, seen=msgspec.structs.replace(home.state().seen, seq=9))
    assert code_of(home, live.now) == code


def test_an_older_head_named_by_the_record_is_refused(live: LiveDeployment, host: Refresher) -> None:
    older = host.home.state().head
    live.revoke(digest(1))
    host.refresh(live.now)
    put_state(host.home, head=older)
    assert code_of(host.home, live.now) == "list.rollback"


def test_an_older_trust_named_by_the_record_is_refused(live: LiveDeployment, host: Refresher) -> None:
    older = host.home.state().trust
    live.publish_policy(2)
    host.refresh(live.now, trust=True)
    put_state(host.home, trust=older)
    assert code_of(host.home, live.now) == "trust.rollback"


@pytest.mark.parametrize("field", ["root", "targets", "checkpoints", "epoch", "seq", "issued"])
def test_a_commit_that_would_go_back_is_refused(live: LiveDeployment, tmp_path: Path, field: str) -> None:
    live.revoke(digest(1))
    home = live.host(tmp_path).home
    before = (tmp_path / "state.json").read_bytes()
    seen = home.state().seen
    lower = Time.of(live.now - timedelta(days=1)) if field == "issued" else getattr(seen, field) - 1
    with pytest.raises(Refused) as caught:
        home.commit(State(v=1, seen=msgspec.structs.replace(seen, **{field: lower})))
    assert caught.value.code in {"trust.rollback", "list.rollback"}
    assert (tmp_path / "state.json").read_bytes() == before


# -- content-addressed files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("trust", "trust.missing"),
        ("lists/heads", "list.missing"),
        ("lists/segments", "list.segments"),
        ("lists/bases", "list.base"),
        ("lists/rules", "list.segments"),
    ],
)
@pytest.mark.parametrize("attack", ["missing", "changed", "emptied", "longer"])
def test_every_stored_file_is_needed_as_it_was(
    live: LiveDeployment, tmp_path: Path, kind: str, code: str, attack: str
) -> None:
    live.publish_epoch(2, 0, [digest(7)])
    live.revoked.append(digest(1))
    live.publish_head(epoch=2)
    host = live.host(tmp_path)
    for path in (tmp_path / kind).iterdir():
        data = path.read_bytes()
        if attack == "missing":
            path.unlink()
        else:
            overwrite(path, {"changed": data[:-1] + b"\x07", "emptied": b"", "longer": data + b" "}[attack])
    with pytest.raises(LoadlockError) as caught:
        host.home.in_force(live.now)
    assert (caught.value.code, "loadlock host sync" in caught.value.todo) == (code, True)
    # The next pass fetches again what does not verify.
    assert Refresher(host.home).refresh(live.now).revocations.lists(Hex(digest(1)))
    assert host.home.in_force(live.now).revocations.lists(Hex(digest(7)))


@pytest.fixture(scope="module")
def many() -> list[str]:
    """Enough digests for a base that is mapped."""
    return [digest(number) for number in range(MAPPED_FROM // PREFIX + 100)]


def test_a_large_base_is_mapped(live: LiveDeployment, tmp_path: Path, many: list[str]) -> None:
    live.publish_epoch(2, 0, many)
    host = live.host(tmp_path)
    found = host.home.in_force(live.now).revocations
    assert isinstance(found.base.data, mmap.mmap)
    assert len(found.base) == len(many)
    assert all(found.lists(Hex(name)) for name in many[::997])
    assert not found.lists(Hex(digest(-1)))
    # What follows is computed of it, and it stays in force until then.
    follower = Refresher(Home(tmp_path))
    live.revoked.append(digest(-1))
    live.publish_head(epoch=2)
    follower.refresh(live.now)
    live.publish_epoch(3, 1, [*many, digest(-1)])
    live.server.files = {path: data for path, data in live.server.files.items() if not path.startswith("lists/bases/")}
    assert follower.refresh(live.now).revocations.lists(Hex(digest(-1)))
    assert Home(tmp_path).in_force(live.now).revocations.lists(Hex(digest(-1)))
    assert found.lists(Hex(many[0]))  # the old one is gone from its directory, not from who still goes by it


@pytest.mark.parametrize("attack", ["changed", "emptied", "shorter", "longer", "missing", "a directory"])
def test_a_large_base_is_needed_as_it_was(live: LiveDeployment, tmp_path: Path, many: list[str], attack: str) -> None:
    live.publish_epoch(2, 0, many)
    host = live.host(tmp_path)
    (path,) = (path for path in (tmp_path / "lists" / "bases").iterdir() if path.stat().st_size)
    data = path.read_bytes()
    changed = {"changed": data[:-1] + b"\x07", "emptied": b"", "shorter": data[:-PREFIX], "longer": data + b" "}
    path.unlink()
    if attack in changed:
        path.write_bytes(changed[attack])
    elif attack == "a directory":
        path.mkdir()
    assert code_of(host.home, live.now) == "list.base"
    if attack != "a directory":
        assert Refresher(host.home).refresh(live.now).revocations.lists(Hex(many[0]))


def test_stored_trust_that_was_written_anew_under_its_own_digest_is_refused(
    live: LiveDeployment, host: Refresher
) -> None:
    state = host.home.state()
    assert state.trust is not None
    stored = host.home.stored_trust(state.trust)
    looser = stored.targets["policy.json"].replace('"production"', '"demo"')
    forged = msgspec.structs.replace(stored, targets=stored.targets | {"policy.json": looser})
    put_state(host.home, trust=host.home.blobs.write("trust", strict_json.dumps(forged)))
    assert code_of(host.home, live.now) == "trust.metadata"


@pytest.mark.parametrize("name", ["", "..", "../state.json", "A" * 64, "0" * 63, "0" * 64 + "/x"])
def test_a_name_that_is_no_digest_is_not_looked_up(host: Refresher, name: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        host.home.blobs.path("heads", name)
    with pytest.raises(ValueError, match="hexadecimal"):
        host.home.set_path(name)


def test_too_large_a_file_is_not_stored(host: Refresher) -> None:
    with pytest.raises(Refused) as caught:
        host.home.blobs.write("heads", b" " * 2_000_000)
    assert caught.value.code == "format.too-large"


def test_a_sweep_removes_what_is_out_of_use_and_what_crashes_left(live: LiveDeployment, host: Refresher) -> None:
    directory = host.home.directory
    (directory / ".staging-crashed" / "metadata").mkdir(parents=True)
    (directory / "lists" / "segments").mkdir()
    (directory / "lists" / "segments" / f".{'0' * 64}.abc").write_bytes(b"half")
    (directory / "trust" / f"{'0' * 64}.json").write_bytes(b"old")
    live.revoke(digest(1))
    host.refresh(live.now)
    assert not (directory / ".staging-crashed").exists()
    assert [path.name for path in (directory / "lists" / "segments").iterdir()] == [
        host.home.in_force(live.now).revocations.head.segments[0].sha256
    ]
    assert len(list((directory / "trust").iterdir())) == 1


# -- the clock --------------------------------------------------------------------------------------------------------


def test_time_alone_leaves_the_record_readable_and_expires_what_it_names(live: LiveDeployment, host: Refresher) -> None:
    late = live.now + timedelta(days=29)
    in_force = host.home.in_force(late)
    in_force.trust.check(in_force.deployment, in_force.floor, late)
    with pytest.raises(Refused) as stale:
        in_force.revocations.freshness(late, timedelta(hours=24))
    assert stale.value.code == "list.stale"
    late = live.now + timedelta(days=30)
    with pytest.raises(Refused) as expired:
        in_force.trust.check(in_force.deployment, in_force.floor, late)
    assert expired.value.code == "trust.expired"


def test_a_clock_set_back_revives_no_head_key_that_has_ended(live: LiveDeployment, host: Refresher) -> None:
    live.pass_time(timedelta(days=1))
    live.repository.publish_online(live.now)
    live.publish_head(life=timedelta(days=90))
    host.refresh(live.now)
    assert code_of(host.home, live.now + timedelta(days=31)) == "list.key-expired"
    assert host.home.in_force(datetime(2001, 1, 1, tzinfo=live.now.tzinfo)).time_floor == Time.of(live.now)


# -- one writer -------------------------------------------------------------------------------------------------------


def test_a_second_writer_waits_and_then_gives_up(tmp_path: Path) -> None:
    with writing(tmp_path), pytest.raises(Unreachable) as caught, writing(tmp_path, wait=0.05):
        pass
    assert caught.value.code == "io.failed"


def test_a_second_writer_goes_on_when_the_first_has_finished(tmp_path: Path) -> None:
    entered, order = threading.Event(), []

    def first() -> None:
        with writing(tmp_path):
            entered.set()
            threading.Event().wait(0.05)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(5)
    with writing(tmp_path):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_the_lock_is_let_go_when_the_writer_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        raise ZeroDivisionError
    with writing(tmp_path, wait=0):
        pass


def test_a_directory_that_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught, writing(tmp_path / "absent"):
        pass
    assert caught.value.code == "io.failed"


def test_a_forked_child_does_not_keep_the_lock_of_a_parent_that_died(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from verifier.deployment.blobs import writing
directory = Path(sys.argv[1])
ready, living = os.pipe(), os.pipe()
if (writer := os.fork()) == 0:
    with writing(directory):
        if os.fork() == 0:
            os.close(living[1])
            os.write(ready[1], b"x")
            os.read(living[0], 1)  # lives until all others are gone
            os._exit(0)
        os.read(ready[0], 1)
        os._exit(0)                # dies inside, as if killed
os.waitpid(writer, 0)
with writing(directory, wait=0):
    print("free")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("free\n", "")
