"""A carried copy: believed no more than a server, and it leads nowhere else."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hosts import HostedDeployment, code_of, set_of
from verifier.deployment.home import Home
from verifier.errors import LoadlockError
from verifier.formats.carried import END, dump_header, is_name, padding, parse_header
from verifier.gate import Gate
from verifier.refreshing.carried import copy_at
from verifier.refreshing.refresh import Refresher, enroll, refresh
from verifier.refreshing.sets import fetch_set

LIMIT = 1000


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def archive(files: dict[str, bytes]) -> bytes:
    pieces = [
        dump_header(name, len(data)) + data + bytes(padding(len(data))) for name, data in sorted(files.items())
    ]  # fmt: skip
    return b"".join(pieces) + END


def carried(hosted: HostedDeployment, place: Path, form: str) -> Path:
    """The public tree as it is now."""
    if form == "file":
        place.write_bytes(archive(hosted.server.files))
        return place
    for name, data in hosted.server.files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place


def taken(home: Home, copy: Path, hosted: HostedDeployment) -> None:
    with copy_at(copy) as source:
        Refresher(home, source).refresh(hosted.now, trust=True)


def offline(hosted: HostedDeployment, copy: Path, place: Path) -> Home:
    """A host that was enrolled from a copy, and has no network."""
    with copy_at(copy) as source:
        home = enroll(source, hosted.root, place)
        refresh(home, hosted.now, source)
    return home


FORMS = pytest.mark.parametrize("form", ["file", "directory"])


# -- what a host without a network does --------------------------------------------------------------------------------


@FORMS
def test_a_host_without_a_network_refuses_what_the_next_copy_revokes(
    hosted: HostedDeployment, tmp_path: Path, form: str
) -> None:
    wheel = hosted.plugin()
    first = carried(hosted, tmp_path / "first", form)
    hosted.revoke(wheel)
    second = carried(hosted, tmp_path / "second", form)
    hosted.server.stop()
    home = offline(hosted, first, tmp_path / "offline")
    gate = Gate(home, clock=hosted.clock)
    hosted.gates.append(gate)
    plugin = gate.load(wheel)
    taken(home, second, hosted)
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"
    assert code_of(plugin.check) == "plugin.revoked"
    # What was carried before is not taken any more, and changes nothing.
    before = home.state()
    assert code_of(lambda: taken(home, first, hosted)) == "list.rollback"
    assert home.state() == before
    assert code_of(lambda: Gate(home, clock=hosted.clock).verify(wheel)) == "revoked.artifact"
    taken(home, second, hosted)


@FORMS
def test_another_deployments_copy_is_refused(hosted: HostedDeployment, tmp_path: Path, form: str) -> None:
    wheel = hosted.plugin()
    home = offline(hosted, carried(hosted, tmp_path / "ours", form), tmp_path / "offline")
    (tmp_path / "stranger").mkdir()
    with HostedDeployment(tmp_path / "stranger") as other:
        other.revoke(wheel)
        theirs = carried(other, tmp_path / "theirs", form)
    before = home.state()
    assert code_of(lambda: taken(home, theirs, hosted)) in {"trust.metadata", "trust.root", "list.signature"}
    assert home.state() == before
    assert Gate(home, clock=hosted.clock).verify(wheel).list_seq == 0
    with copy_at(theirs) as source:
        assert code_of(lambda: enroll(source, hosted.root, tmp_path / "new")) == "trust.root"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("length", [0, 1, 511, 512, 5000, -1, -512, -1024, -1025])
def test_a_file_that_was_cut_short_is_refused_whole(hosted: HostedDeployment, tmp_path: Path, length: int) -> None:
    home = offline(hosted, carried(hosted, tmp_path / "whole", "file"), tmp_path / "offline")
    hosted.revoke(hosted.plugin())
    data = carried(hosted, tmp_path / "next", "file").read_bytes()
    (tmp_path / "next").write_bytes(data[:length])
    before = home.state()
    assert code_of(lambda: taken(home, tmp_path / "next", hosted)) == "copy.damaged"
    assert home.state() == before


@FORMS
def test_every_changed_file_is_refused_and_what_was_in_force_stays(
    hosted: HostedDeployment, tmp_path: Path, form: str
) -> None:
    home = offline(hosted, carried(hosted, tmp_path / "whole", form), tmp_path / "offline")
    hosted.revoke(hosted.plugin())
    hosted.policy("denied_plugins", ["other_plugin"])
    good = dict(hosted.server.files)
    needed = sorted(name for name in good if name.endswith(("head.json", "timestamp.json")) or "segments" in name)
    for number, name in enumerate(needed):
        hosted.server.files = good | {name: good[name][:-2] + b"\x00}"}
        changed = carried(hosted, tmp_path / f"changed-{number}", form)
        code = code_of(partial(taken, home, changed, hosted))
        assert code.startswith(("trust.", "list.", "format.")), (name, code)
        hosted.server.files = {path: data for path, data in good.items() if path != name}
        without = carried(hosted, tmp_path / f"without-{number}", form)
        code = code_of(partial(taken, home, without, hosted))
        assert code == "unreachable.server", (name, code)
        # A list that is right is taken although the policy beside it is not, and the other way round.
        assert home.state().seen.seq == int("timestamp" in name)
    hosted.server.files = good
    taken(home, carried(hosted, tmp_path / "good", form), hosted)
    assert home.state().seen.seq == 1


@FORMS
def test_a_copy_whose_time_is_over_is_refused(hosted: HostedDeployment, tmp_path: Path, form: str) -> None:
    copy = carried(hosted, tmp_path / "copy", form)
    home = offline(hosted, copy, tmp_path / "offline")
    hosted.pass_time(timedelta(days=40))
    assert code_of(lambda: taken(home, copy, hosted)).startswith("trust.")


@FORMS
def test_attestation_sets_are_carried_too(hosted: HostedDeployment, tmp_path: Path, form: str) -> None:
    wheel = hosted.plugin()
    name = fetched_name(hosted, wheel)
    home = offline(hosted, carried(hosted, tmp_path / "copy", form), tmp_path / "offline")
    set_of(wheel).unlink()
    with copy_at(tmp_path / "copy") as source:
        assert fetch_set(home, name, source).is_file()
        assert code_of(lambda: fetch_set(home, "0" * 64, source)) == "set.missing"
    assert Gate(home, clock=hosted.clock).verify(wheel).plugin_id == "sample_plugin"


def fetched_name(hosted: HostedDeployment, wheel: Path) -> str:
    """Hand the wheel's set out, and say under which digest."""
    name = hashlib.sha256(wheel.read_bytes()).hexdigest()
    hosted.server.files[f"sets/{name}.jsonl"] = set_of(wheel).read_bytes()
    return name


# -- where a copy may not lead -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["link", "folder", "pipe", "device", "directory"])
def test_only_regular_files_of_a_directory_are_read(tmp_path: Path, form: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "head.json").write_bytes(b"secret")
    copy = tmp_path / "copy"
    (copy / "lists").mkdir(parents=True)
    place = copy / "lists" / "head.json"
    if form == "link":
        place.symlink_to(tmp_path / "secret" / "head.json")
    elif form == "folder":
        (copy / "lists").rmdir()
        (copy / "lists").symlink_to(tmp_path / "secret", target_is_directory=True)
    elif form == "pipe":
        os.mkfifo(place)
    elif form == "device":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    with copy_at(copy) as source:
        assert code_of(lambda: source.request("/lists/head.json", LIMIT)) == "copy.damaged"


NAMES = ["", "/", "..", "../secret", "/../secret", "//secret", "lists/../../secret", "lists//head.json", "LISTS/a",
         "lists/\x00", "./head.json", "lists/head.json/", "a/b/c/d/e/f", "a" * 201, "lists\\head.json", "%2e%2e/secret",
         "-rf", ".git/config", "lists/\u0661"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leaves_a_copy(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "copy").mkdir()
    with copy_at(tmp_path / "copy") as source:
        assert source.request(f"/{name}", LIMIT).status == 404
        assert code_of(lambda: source.get(f"/{name}", LIMIT)) == "unreachable.server"


@pytest.mark.parametrize("form", ["file", "directory"])
def test_too_large_a_file_is_refused(tmp_path: Path, form: str) -> None:
    files = {"lists/head.json": b"x" * (LIMIT + 1)}
    if form == "file":
        (tmp_path / "copy").write_bytes(archive(files))
    else:
        (tmp_path / "copy" / "lists").mkdir(parents=True)
        (tmp_path / "copy" / "lists" / "head.json").write_bytes(files["lists/head.json"])
    with copy_at(tmp_path / "copy") as source:
        assert code_of(lambda: source.request("/lists/head.json", LIMIT)) == "format.too-large"
        assert len(source.request("/lists/head.json", LIMIT + 1).body) == LIMIT + 1


@pytest.mark.parametrize("place", ["nothing", "pipe"])
def test_what_cannot_be_opened_is_wrong_usage(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadlockError) as caught, copy_at(tmp_path / place):
        pass
    assert caught.value.code == "io.failed"


# -- the one form of the file ------------------------------------------------------------------------------------------


def member(name: str, **changes: object) -> bytes:
    found = tarfile.TarInfo(name)
    for field, value in changes.items():
        setattr(found, field, value)
    return found.tobuf(tarfile.GNU_FORMAT if changes.get("type") == tarfile.GNUTYPE_SPARSE else tarfile.USTAR_FORMAT)


def extended(name: str, path: str) -> bytes:
    found = tarfile.TarInfo(name)
    found.pax_headers = {"path": path}
    return found.tobuf(tarfile.PAX_FORMAT)


ONE = dump_header("b", 1) + b"x" + bytes(511)
BAD = {
    "nothing": b"",
    "no end": ONE,
    "half an end": ONE + END[:512],
    "more behind the end": ONE + END + b"\x00",
    "another file behind the end": END + ONE + END,
    "a file twice": ONE + ONE + END,
    "files out of order": ONE + dump_header("a", 0) + END,
    "a file cut short": dump_header("b", 1000) + b"x" * 500,
    "something in the padding": dump_header("b", 1) + b"x" + b"y" * 511 + END,
    "a link": member("b", type=tarfile.SYMTYPE, linkname="/etc/passwd") + END,
    "a hard link": member("b", type=tarfile.LNKTYPE, linkname="a") + END,
    "a directory": member("b", type=tarfile.DIRTYPE) + END,
    "a device": member("b", type=tarfile.CHRTYPE) + END,
    "a sparse file": member("b", type=tarfile.GNUTYPE_SPARSE) + END,
    "a name upwards": member("../b") + END,
    "an absolute name": member("/b") + END,
    "a name with a dot": member("./b") + END,
    "another mode": member("b", mode=0o4755) + END,
    "another owner": member("b", uid=1000, gid=1000, uname="u") + END,
    "a time": member("b", mtime=1_700_000_000) + END,
    "an extended header": extended("b", "c") + END,
    "a wrong sum": ONE[:148] + b"0000000\x00" + ONE[156:] + END,
    "a negative size": ONE[:124] + b"\xff" * 12 + ONE[136:] + END,
    "a compressed archive": b"\x1f\x8b" + bytes(600),
    "no archive": b'{"v":1}' * 200,
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_of_another_form_is_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / "copy").write_bytes(BAD[case])
    with pytest.raises(LoadlockError) as caught, copy_at(tmp_path / "copy"):
        pass
    assert caught.value.code == "copy.damaged"


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(archive({"a": b"x" * 600}))
    with copy_at(path) as source:
        os.truncate(path, 700)
        assert code_of(lambda: source.request("/a", LIMIT)) == "copy.damaged"


names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,90}(/[a-z0-9][a-z0-9._-]{0,8}){0,4}", fullmatch=True).filter(is_name)


@given(names, st.integers(0, 512 * 1024 * 1024))
def test_a_header_is_read_as_it_was_written(name: str, size: int) -> None:
    assert parse_header(dump_header(name, size)) == (name, size)


@given(st.dictionaries(names, st.binary(max_size=1500), max_size=5))
def test_a_copy_holds_what_was_put_in_and_any_tar_reads_it(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    path = tmp_path_factory.mktemp("copy") / "copy.tar"
    path.write_bytes(archive(files))
    with copy_at(path) as source:
        assert {name: source.get(f"/{name}", 2000).body for name in files} == files
    with tarfile.open(path, mode="r:") as found:
        assert [member.name for member in found] == sorted(files)
