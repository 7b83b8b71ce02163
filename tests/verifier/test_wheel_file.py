"""A wheel that was seen before is not hashed again; whatever is done to it, no byte is used that was not verified."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment, code_of
from tests.wheels import Wheel, build_wheel
from verifier import private_directory
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.private_cache import PrivateCache
from verifier.wheels import wheel_cache, wheel_file
from verifier.wheels.archive import DEFAULT_LIMITS
from verifier.wheels.wheel_cache import SeenFiles
from verifier.wheels.wheel_file import HELD_OPEN, WheelFile

PACKAGE = "sample_plugin/__init__.py"
FILLING = {"sample_plugin/filling.bin": os.urandom(HELD_OPEN + 1)}
GOOD = b"WHO = 'good'  # 999\n"
SIZES: dict[str, dict[str, bytes]] = {"small": {}, "held open": FILLING}


@pytest.fixture(params=[1 << 20, 12], ids=["few files open", "many files open"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of how many files that this process may open, some are open."""
    monkeypatch.setattr(os, "sysconf", lambda _: request.param)


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as left alone at once."""
    monkeypatch.setattr(private_directory, "SETTLED", -(10**9))


def files_seen(directory: Path) -> SeenFiles:
    """What a new process knows of files."""
    return SeenFiles(PrivateCache(directory))


@pytest.fixture(name="cache")
def _cache(tmp_path: Path) -> SeenFiles:
    """An empty cache."""
    return files_seen(tmp_path / "cache")


@cache
def wheels(size: str) -> tuple[Wheel, Wheel]:
    """A wheel, and another one of the same name and length."""
    good = build_wheel({PACKAGE: GOOD, **SIZES[size]})
    others = (build_wheel({PACKAGE: b"WHO = 'evil'  # %03d\n" % number, **SIZES[size]}) for number in range(1000))
    evil = next(other for other in others if len(other.data) == len(good.data))
    assert good.data != evil.data
    return good, evil


def put(tmp_path: Path, wheel: Wheel) -> Path:
    path = tmp_path / wheel.file_name
    path.write_bytes(wheel.data)
    return path


def is_known(path: Path, cache: SeenFiles) -> bool:
    return WheelFile(path, cache)._known is not None


def seen(path: Path, cache: SeenFiles) -> None:
    """Read and accept a wheel, so that it is known from now on."""
    assert not is_known(path, cache)
    WheelFile(path, cache).snapshot()
    assert is_known(path, cache)


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("size", SIZES)
def test_a_wheel_that_was_left_alone_is_known(size: str, tmp_path: Path, cache: SeenFiles) -> None:
    good, _ = wheels(size)
    path = put(tmp_path, good)
    first = WheelFile(path).snapshot()
    seen(path, cache)
    file = WheelFile(path, cache)
    assert (file.digest, file.size, file.name) == (good.digest, len(good.data), good.file_name)
    assert dict(file.snapshot().files) == dict(first.files)


def restored(change: Callable[[Path, bytes], object]) -> Callable[[Path, bytes], None]:
    """A change after which the times that anybody can set are those of before."""

    def do(path: Path, content: bytes) -> None:
        before = path.stat()
        change(path, content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return do


def by_another_inode(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    path.with_name("new").replace(path)


def through_a_mapping(path: Path, content: bytes) -> None:
    import mmap

    with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        mapped[:] = content


CHANGES: dict[str, Callable[[Path, bytes], object]] = {
    "written in place, its times put back": restored(Path.write_bytes),
    "replaced, its times put back": restored(by_another_inode),
    "written through a mapping, its times put back": restored(through_a_mapping),
    "replaced": by_another_inode,
}


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", SIZES)
def test_attack_1_another_wheel_in_its_place_is_judged_as_what_it_is(
    change: str, size: str, tmp_path: Path, cache: SeenFiles
) -> None:
    good, evil = wheels(size)
    path = put(tmp_path, good)
    seen(path, cache)
    CHANGES[change](path, evil.data)
    file = WheelFile(path, cache)
    assert file._known is None
    assert file.digest == evil.digest


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("size", SIZES)
def test_attack_1_another_wheel_under_the_very_same_identity_is_never_used(
    size: str, tmp_path: Path, cache: SeenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the file system lied: what is judged and used is the wheel that was verified, or nothing."""
    good, evil = wheels(size)
    path = put(tmp_path, good)
    monkeypatch.setattr(wheel_file, "state_of", lambda _: b"the same")
    seen(path, cache)
    path.write_bytes(evil.data)
    file = WheelFile(path, cache)
    assert file.digest == good.digest
    files = file.snapshot().files
    with pytest.raises(Refused) as refusal:
        files[PACKAGE]
    assert refusal.value.code == "wheel.archive"
    same = next(name for name in files if name.endswith("/WHEEL"))
    assert files[same] == WheelFile(path).snapshot().files[same]


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("length", [0, 1, 100])
def test_a_shorter_file_under_the_same_identity(
    length: int, tmp_path: Path, cache: SeenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, _ = wheels("held open")
    path = put(tmp_path, good)
    monkeypatch.setattr(wheel_file, "state_of", lambda _: b"the same")
    seen(path, cache)
    os.truncate(path, length)
    with pytest.raises(Refused) as refusal:
        WheelFile(path, cache).snapshot().files["sample_plugin/filling.bin"]
    assert refusal.value.code == "wheel.archive"


def records_of(path: Path) -> list[bytes]:
    """The records of a shelf, whole."""
    found: list[bytes] = []
    content = path.read_bytes()
    while content:
        end = 72 + int.from_bytes(content[64:72], "little")
        found, content = [*found, content[:end]], content[end:]
    return found


POISONS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "of another file": lambda mine, other: mine[:64] + other[64:],
    "of another file, under its own tag": lambda mine, other: other[:32] + mine[32:64] + other[64:],
    "tagged under another key": lambda mine, _: bytes(32) + mine[32:],
    "another wheel's digest": lambda mine, other: mine[:72] + other[72 : 72 + 71] + mine[72 + 71 :],
    "cut short": lambda mine, _: mine[:100],
    "gone": lambda mine, other: b"",
}


@pytest.mark.parametrize("poison", POISONS)
def test_attack_53_what_was_done_to_the_record_of_a_file_makes_it_unknown(
    poison: str, tmp_path: Path, cache: SeenFiles
) -> None:
    good, evil = wheels("small")
    paths = put(tmp_path, good), put_elsewhere(tmp_path, evil)
    for path in paths:
        seen(path, cache)
    [shelf] = [path for path in (tmp_path / "cache").iterdir() if path.read_bytes()[72:].startswith(b"sha256:")]
    mine, other = records_of(shelf)
    assert mine[72:].startswith(good.digest.encode())
    shelf.write_bytes(other + POISONS[poison](mine, other))
    assert is_known(paths[1], files_seen(tmp_path / "cache"))
    file = WheelFile(paths[0], files_seen(tmp_path / "cache"))
    assert file._known is None
    assert file.digest == good.digest
    assert file.snapshot().files[PACKAGE] == GOOD
    assert is_known(paths[0], files_seen(tmp_path / "cache"))


def test_of_what_is_kept_of_files_the_oldest_goes_when_it_is_much(
    tmp_path: Path, cache: SeenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, evil = wheels("small")
    paths = put(tmp_path, good), put_elsewhere(tmp_path, evil)
    seen(paths[0], cache)
    [shelf] = [path for path in (tmp_path / "cache").iterdir() if path.read_bytes()[72:].startswith(b"sha256:")]
    monkeypatch.setattr(wheel_cache, "MAX_SEEN", shelf.stat().st_size + 100)
    seen(paths[1], files_seen(tmp_path / "cache"))
    found = files_seen(tmp_path / "cache")
    assert [is_known(path, found) for path in paths] == [False, True]


def put_elsewhere(tmp_path: Path, wheel: Wheel) -> Path:
    (tmp_path / "other").mkdir()
    return put(tmp_path / "other", wheel)


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_cache_that_others_may_enter_knows_no_file(mode: int, tmp_path: Path, cache: SeenFiles) -> None:
    path = put(tmp_path, wheels("small")[0])
    seen(path, cache)
    (tmp_path / "cache").chmod(mode)
    assert not is_known(path, files_seen(tmp_path / "cache"))


def test_a_cache_of_somebody_else_knows_no_file(tmp_path: Path, cache: SeenFiles) -> None:
    path = put(tmp_path, wheels("small")[0])
    seen(path, cache)
    shutil.rmtree(tmp_path / "cache")
    assert not is_known(path, files_seen(tmp_path / "cache")), "another key"


def test_a_file_that_was_just_written_is_hashed_again(
    tmp_path: Path, cache: SeenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_directory, "SETTLED", 3600 * 10**9)
    path = put(tmp_path, wheels("small")[0])
    WheelFile(path, cache).snapshot()
    assert not is_known(path, cache)


def test_a_wheel_that_was_refused_is_refused_again(tmp_path: Path, cache: SeenFiles) -> None:
    wheel = build_wheel({PACKAGE: "", "evil.pth": "import os"})
    path = put(tmp_path, wheel)
    for _ in range(2):
        with pytest.raises(Refused) as refusal:
            WheelFile(path, cache).snapshot()
        assert refusal.value.code == "wheel.forbidden"


def test_a_known_file_under_another_name(tmp_path: Path, cache: SeenFiles) -> None:
    path = put(tmp_path, wheels("small")[0])
    seen(path, cache)
    other = path.rename(path.with_name("other_plugin-1.0-py3-none-any.whl"))
    with pytest.raises(Refused) as refusal:
        WheelFile(other, cache).snapshot()
    assert refusal.value.code == "wheel.metadata"


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_a_wheel_that_is_held_open_outlives_its_name(how: str, tmp_path: Path, cache: SeenFiles) -> None:
    good, evil = wheels("held open")
    path = put(tmp_path, good)
    seen(path, cache)
    files = WheelFile(path, cache).snapshot().files
    if how == "replaced":
        by_another_inode(path, evil.data)
    else:
        path.unlink()
    assert files[PACKAGE] == GOOD


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_into_a_wheel_that_is_held_open_is_refused(size: str, tmp_path: Path, cache: SeenFiles) -> None:
    good, evil = wheels(size)
    path = put(tmp_path, good)
    seen(path, cache)
    files = WheelFile(path, cache).snapshot().files
    path.write_bytes(evil.data)
    with pytest.raises(Refused) as refusal:
        files[PACKAGE]
    assert refusal.value.code == "wheel.archive"


def test_with_many_files_open_a_small_wheel_is_read_and_closed(
    tmp_path: Path, cache: SeenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, evil = wheels("small")
    path = put(tmp_path, good)
    seen(path, cache)
    monkeypatch.setattr(os, "sysconf", lambda _: 12)
    before = len(os.listdir("/proc/self/fd"))
    files = WheelFile(path, cache).snapshot().files
    assert len(os.listdir("/proc/self/fd")) == before
    path.write_bytes(evil.data)
    assert files[PACKAGE] == GOOD


@pytest.mark.parametrize("reused", [False, True])
def test_a_host_that_closes_its_descriptors(reused: bool, tmp_path: Path, cache: SeenFiles) -> None:
    path = put(tmp_path, wheels("held open")[0])
    seen(path, cache)
    files = WheelFile(path, cache).snapshot().files
    [number] = [int(name) for name in os.listdir("/proc/self/fd") if is_open_at(name, path)]
    os.close(number)
    other = os.open("/dev/null", os.O_RDONLY) if reused else -1
    assert files[PACKAGE] == GOOD
    del files
    if reused:
        assert other == number
        os.fstat(other)  # it was not closed with the wheel
        os.close(other)


def is_open_at(number: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{number}") == str(path)
    except OSError:
        return False


def test_nothing_stays_open_of_a_wheel_that_nobody_uses(tmp_path: Path, cache: SeenFiles) -> None:
    path = put(tmp_path, wheels("held open")[0])
    seen(path, cache)
    before = len(os.listdir("/proc/self/fd"))
    file = WheelFile(path, cache)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del file
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("what", ["missing", "a directory", "a pipe", "a name with an end in it"])
def test_what_cannot_be_read(what: str, tmp_path: Path) -> None:
    path = tmp_path / "sample_plugin-1.0-py3-none-any.whl"
    if what == "a directory":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what != "missing":
        path = Path("a\0b.whl")
    with pytest.raises(UsageError) as refusal:
        WheelFile(path)
    assert refusal.value.code == "wheel.unreadable"


def test_a_wheel_over_the_cap_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.whl"
    path.touch()
    os.truncate(path, DEFAULT_LIMITS.archive + 1)
    with pytest.raises(LoadlockError) as refusal:
        WheelFile(path)
    assert refusal.value.code == "wheel.too-large"


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def test_a_known_wheel_is_judged_as_always(hosted: HostedDeployment, tmp_path: Path) -> None:
    """Attacks 33 and 50: that it was accepted before is no reason to accept it."""
    wheel, kept = hosted.plugin(), tmp_path / "kept"
    for _ in range(2):
        gate = hosted.gate(cache=kept)
        assert gate.load(wheel).entry_point("exporters", "hello")() == "hello"
        hosted.unload()
    assert is_known(wheel, files_seen(kept))
    hosted.policy("plugins.sample_plugin.min_version", "9.0")
    hosted.refresh()
    assert code_of(lambda: hosted.gate(cache=kept).load(wheel)) == "decision.min-version"
    hosted.revoke(wheel)
    hosted.refresh()
    assert code_of(lambda: hosted.gate(cache=kept).load(wheel)) == "revoked.artifact"
