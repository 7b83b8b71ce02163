"""Exports: a copy verifies at every moment, never goes back, keeps what hosts may still need, and loses the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crl_server.export.places import Directory
from crl_server.lists.public_files import ENROLMENT, HEAD, TIMESTAMP
from crl_server.service import Authority
from tests.crl_server.copies import Watched, contents, exporter, read_copy
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, made, revoke
from tests.crl_server.takebacks import checkpoint
from verifier.errors import LoadlockError

pytestmark = pytest.mark.usefixtures("engine")

SEGMENTS = "lists/segments/"


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    revoke(new, "first")
    yield new
    new.close()


@pytest.fixture
def place(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "mirror")


def test_a_copy_says_what_the_tree_says(authority: Authority, place: Watched) -> None:
    outcome = exporter(authority, place).run(NOW)
    assert (outcome.epoch, outcome.seq, outcome.removed) == (1, 1, 0)
    assert outcome.written == len(place.changes) == len(contents(place.root))
    tree = contents(authority.layout.public)
    assert {name: data for name, data in contents(place.root).items() if tree.get(name) != data} == {}
    assert read_copy(place.root).lists(digest("first"))


def test_what_is_referred_to_is_written_before_what_refers_to_it(authority: Authority, place: Watched) -> None:
    exporter(authority, place).run(NOW)
    *before, timestamp, head, enrolment = place.changes
    assert (timestamp, head, enrolment) == (TIMESTAMP, HEAD, ENROLMENT)
    assert before[-1] == "trust/metadata/1.root.json"
    assert all("/metadata/" not in name for name in before[:-4])


def test_nothing_new_writes_nothing(authority: Authority, place: Watched) -> None:
    exporting = exporter(authority, place)
    exporting.run(NOW)
    place.changes.clear()
    assert exporting.run(NOW).written == 0
    assert exporter(authority, Directory(place.root)).run(NOW).written == 0
    assert place.changes == []


def test_a_revocation_costs_one_segment_and_the_head(authority: Authority, place: Watched) -> None:
    exporting = exporter(authority, place)
    exporting.run(NOW)
    place.changes.clear()
    revoke(authority, "second")
    exporting.run(NOW)
    assert [name.partition("s/")[0] + "s/" for name in place.changes[:-1]] == ["lists/"]
    assert place.changes[0].startswith(SEGMENTS)
    assert place.changes[-1] == HEAD
    assert read_copy(place.root).lists(digest("second"))


def test_a_host_that_reads_at_any_moment_is_never_refused_within_an_epoch(authority: Authority, place: Watched) -> None:
    exporting = exporter(authority, place)
    for label in range(6):
        revoke(authority, label)
        exporting.run(NOW)
    office = authority.office()
    office.sign_policy(office.text(), ACTOR, NOW)
    authority.publisher.publish(NOW)
    exporting.run(NOW)
    assert place.refusals == []
    assert all(read_copy(place.root).lists(digest(label)) for label in range(6))


def test_between_timestamp_and_head_of_a_new_epoch_hosts_keep_what_they_have(
    authority: Authority, place: Watched, tmp_path: Path
) -> None:
    exporting = exporter(authority, place)
    exporting.run(NOW)
    checkpoint(authority, tmp_path / "dossier")
    place.changes.clear()
    exporting.run(NOW)
    assert place.changes[-3:-1] == [TIMESTAMP, HEAD] or place.changes[-2:] == [TIMESTAMP, HEAD]
    assert set(place.refusals) == {(TIMESTAMP, "list.epoch")}
    assert read_copy(place.root).head.epoch == 2


def test_what_nothing_refers_to_goes_when_its_time_is_up_also_after_a_restart(
    authority: Authority, place: Watched
) -> None:
    place.put("sets/" + "a" * 64 + ".jsonl", b"{}", None)  # type: ignore[arg-type]
    place.put("trust/metadata/99.targets.json", b"{}", None)  # type: ignore[arg-type]
    (place.root / "robots.txt").write_text("of somebody else")
    assert exporter(authority, place).run(NOW).removed == 0
    later = NOW + DAY - HOUR
    authority.maintain(later)
    place.now = later
    assert exporter(authority, place).run(later).removed == 0
    assert "trust/metadata/99.targets.json" in contents(place.root)
    place.now = NOW + DAY
    assert exporter(authority, place).run(NOW + DAY).removed == 2
    names = contents(place.root).keys()
    assert "trust/metadata/99.targets.json" not in names
    assert "robots.txt" in names
    assert place.refusals == []
    assert read_copy(place.root, NOW + DAY).lists(digest("first"))


def test_what_is_needed_again_does_not_go(authority: Authority, place: Watched) -> None:
    name = "sets/" + "a" * 64 + ".jsonl"
    place.put(name, b"{}\n", None)  # type: ignore[arg-type]
    exporter(authority, place).run(NOW)
    (authority.layout.public / "sets").mkdir()
    (authority.layout.public / name).write_bytes(b"{}\n")
    exporter(authority, place).run(NOW + HOUR)
    (authority.layout.public / name).unlink()
    exporter(authority, place).run(NOW + 2 * HOUR)
    authority.maintain(NOW + DAY + HOUR)
    assert exporter(authority, place).run(NOW + DAY + HOUR).removed == 0
    assert name in contents(place.root)


def test_a_changed_attestation_set_is_written_again(authority: Authority, place: Watched) -> None:
    path = authority.layout.set_file("b" * 64)
    path.parent.mkdir()
    path.write_bytes(b"{}\n")
    exporting = exporter(authority, place)
    exporting.run(NOW)
    os.unlink(path)
    path.write_bytes(b'{"a":1}\n')
    exporting.run(NOW)
    assert contents(place.root)[f"sets/{'b' * 64}.jsonl"] == b'{"a":1}\n'


def test_damage_and_leavings_of_a_crash_are_mended(authority: Authority, place: Watched) -> None:
    exporter(authority, place).run(NOW)
    (segment,) = (place.root / SEGMENTS).iterdir()
    segment.write_bytes(b"short")
    (place.root / SEGMENTS / f".{segment.name[:60]}.abcd1234").write_bytes(b"half")
    exporter(authority, place).run(NOW)
    assert [path.name for path in (place.root / SEGMENTS).iterdir()] == [segment.name]
    assert read_copy(place.root).lists(digest("first"))


def test_a_copy_is_never_set_back(authority: Authority, place: Watched, tmp_path: Path) -> None:
    old = contents(authority.layout.public)
    revoke(authority, "second")
    exporter(authority, place).run(NOW)
    newer = contents(place.root)
    (authority.layout.public / HEAD).write_bytes(old[HEAD])
    with pytest.raises(LoadlockError) as refusal:
        exporter(authority, place).run(NOW)
    assert refusal.value.code == "export.behind"
    assert contents(place.root) == newer


@pytest.mark.parametrize("name", [HEAD, TIMESTAMP])
@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100, b'{"payload":"e30=","payloadType":"x","signatures":[]}'])
def test_what_nobody_signed_does_not_stand_in_the_way(
    authority: Authority, tmp_path: Path, name: str, data: bytes
) -> None:
    root = tmp_path / "mirror"
    exporter(authority, Directory(root)).run(NOW)
    (root / name).write_bytes(data)
    exporter(authority, Directory(root)).run(NOW)
    assert read_copy(root).lists(digest("first"))


def test_what_does_not_verify_is_not_copied(authority: Authority, place: Watched) -> None:
    exporting = exporter(authority, place)
    exporting.run(NOW)
    before = contents(place.root)
    revoke(authority, "second")
    for segment in (authority.layout.public / SEGMENTS).iterdir():
        segment.chmod(0o644)
        segment.write_bytes(b"\0" * 16)
    with pytest.raises(LoadlockError) as refusal:
        exporter(authority, place).run(NOW)
    assert refusal.value.code == "server.damaged"
    assert contents(place.root) == before
    authority.close()
    with closing(Authority(authority.layout.root)) as again:  # which mends its tree from a database that replicas share
        if again.store.replicated:
            exporter(again, place).run(NOW)
            assert read_copy(place.root).lists(digest("second"))
        else:
            with pytest.raises(LoadlockError):
                exporter(again, place).run(NOW)
            assert contents(place.root) == before


def test_an_expired_list_is_not_copied(authority: Authority, place: Watched) -> None:
    with pytest.raises(LoadlockError) as refusal:
        exporter(authority, place).run(NOW + 30 * DAY)
    assert refusal.value.code == "server.not-ready"


def test_a_web_server_may_read_what_a_careful_process_wrote(authority: Authority, tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    before = os.umask(0o077)
    try:
        exporter(authority, Directory(root)).run(NOW)
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    assert modes == {0o755, 0o644}


def test_a_place_that_cannot_be_written_is_told_of(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "mirror").write_text("a file")
    with pytest.raises(LoadlockError) as refusal:
        exporter(authority, Directory(tmp_path / "mirror")).run(NOW)
    assert refusal.value.code == "io.failed"
