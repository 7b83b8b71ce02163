"""Files: the old content or the new, never a part; and what cannot be read is said, not waited for."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from verifier.errors import LoadlockError, Unreachable, UsageError
from verifier.files import read_capped, sync_directory, write_atomic, write_together

OLD, NEW = b"old", b"new content"


def unreadable(path: Path, limit: int = 10) -> LoadlockError:
    with pytest.raises(UsageError) as caught:
        read_capped(path, limit, "policy")
    return caught.value


# -- reading -----------------------------------------------------------------------------------------------------------


def test_no_file(tmp_path: Path) -> None:
    error = unreadable(tmp_path / "absent")
    assert (error.code, error.what) == ("io.failed", "cannot read policy 'absent'")
    assert error.found == "No such file or directory"


def test_a_directory(tmp_path: Path) -> None:
    assert unreadable(tmp_path).code == "io.failed"


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    error = unreadable(tmp_path / "pipe")
    assert (error.code, error.found) == ("io.failed", "not a regular file")


def test_a_device(tmp_path: Path) -> None:
    assert unreadable(Path("/dev/zero")).found == "not a regular file"


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("a\0b", "a" * 300):
        error = unreadable(tmp_path / name)
        assert error.code == "io.failed"
        assert str(error).replace("\n", "").isprintable()


def test_one_byte_too_many(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 11)
    error = unreadable(tmp_path / "file")
    assert (error.code, error.expected) == ("format.too-large", "at most 10 bytes")


@pytest.mark.parametrize("length", [0, 1, 10])
def test_whole_files(tmp_path: Path, length: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * length)
    assert read_capped(tmp_path / "file", 10, "policy") == b"x" * length


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(Unreachable) as caught:
        write_atomic(tmp_path / "file" / "below", NEW)
    assert caught.value.code == "io.failed"
    assert (tmp_path / "file").read_bytes() == OLD


def test_a_name_that_cannot_be_written(tmp_path: Path) -> None:
    for name in ("a\0b", "a" * 300):
        with pytest.raises(Unreachable) as caught:
            write_atomic(tmp_path / name, NEW)
        assert caught.value.code == "io.failed"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(Unreachable):
        write_atomic(tmp_path / "taken", NEW)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("step", ["fsync", "fchmod", "replace"])
def test_a_failure_on_the_way_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    (tmp_path / "file").write_bytes(OLD)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(Unreachable) as caught:
        write_atomic(tmp_path / "file", NEW)
    assert caught.value.found == "No space left on device"
    assert (tmp_path / "file").read_bytes() == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(OLD)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", NEW)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [OLD]


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_the_content_is_replaced_with_its_mode_whatever_the_mask(tmp_path: Path, mode: int) -> None:
    mask = os.umask(0o077)
    try:
        write_atomic(tmp_path / "new" / "directory" / "file", OLD, mode)
        write_atomic(tmp_path / "new" / "directory" / "file", NEW, mode)
    finally:
        os.umask(mask)
    path = tmp_path / "new" / "directory" / "file"
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(path.parent.iterdir()) == [path]


def test_the_content_is_synced_before_it_is_renamed_and_the_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(*paths: str) -> None:
        calls.append("rename")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomic(tmp_path / "file", NEW)
    assert calls == ["file", "rename", "directory"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(OLD)
    (tmp_path / "link").symlink_to("target")
    write_atomic(tmp_path / "link", NEW)
    assert (tmp_path / "target").read_bytes() == OLD
    assert (tmp_path / "link").read_bytes() == NEW
    assert not (tmp_path / "link").is_symlink()


def test_syncing_what_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"Not a directory|No such file"):
        sync_directory(tmp_path / "absent")


def test_files_that_belong_together_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "wheel").write_bytes(b"old")
    (tmp_path / "set").mkdir()
    with pytest.raises(Unreachable) as caught:
        write_together({tmp_path / "wheel": b"new", tmp_path / "set": b"new"})
    assert caught.value.code == "io.failed"
    assert (tmp_path / "wheel").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "wheel"]


def test_a_disk_that_fills_up_between_two_files_changes_neither(tmp_path: Path) -> None:
    (tmp_path / "wheel").write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(Unreachable) as caught:
            write_together({tmp_path / "wheel": b"new", tmp_path / "set": b"x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "io.failed"
    assert (tmp_path / "wheel").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["wheel"]
