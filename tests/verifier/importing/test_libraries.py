"""Libraries that a wheel brings: found in the wheel alone, whatever the environment says and whoever came first.

The libraries are real, and the system's loader loads them; only no module among them has code to run. So an import ends
with "no module export function" once everything that it needs was loaded.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.verifier.importing.elf_files import shared_library
from tests.wheels import build_wheel, contents_of
from verifier import private_directory
from verifier.errors import Refused
from verifier.importing import libraries, links, needing
from verifier.importing.elf import Dynamic, read_dynamic
from verifier.importing.libraries import Libraries
from verifier.importing.needing import MAX_DEPTH, Needed, find
from verifier.private_cache import PrivateCache
from verifier.wheels.snapshot import Files
from verifier.wheels.wheel_cache import SeenFiles
from verifier.wheels.wheel_file import WheelFile

Child = Callable[..., str]
MODULE = "sample_plugin/fast.so"
LIBS = "$ORIGIN/../sample.libs"

IMPORT = """
import re
try:
    plugins[-1].import_module("sample_plugin.fast" if len(plugins) == 1 else f"sample_{len(plugins) - 1}.fast")
except PluginFailed as failure:
    assert "export function" in failure.found, failure
    print("loaded", end=" ")
except Refused as refusal:
    print(refusal.code, end=" ")
mapped = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if len(line.split()) > 5}
print(*sorted(name for name in mapped if re.search("lib(hijack|round|shared)", name)), sep="|")
"""


def libraries_of(files: Mapping[str, bytes]) -> Libraries:
    """Those of a wheel with a digest of its own, by which its sealed files are known."""
    return Libraries(f"sha256:{uuid.uuid4().hex}", files if isinstance(files, Files) else contents_of(files))


def needed_in(files: dict[str, bytes]) -> Needed:
    return find(MODULE, lambda path: read_dynamic(files[path], path), files)


def refused(code: str, files: dict[str, bytes], path: str = MODULE) -> Refused:
    with pytest.raises(Refused) as refusal:
        libraries_of(files).path_of(path)
    assert refusal.value.code == code
    return refusal.value


@pytest.mark.parametrize(
    "entry",
    ["", ".", "lib", "/opt/lib", "/usr/local/lib", "$ORIGINAL/x", "$LIB/x", "$PLATFORM", "../$ORIGIN", "$ORIGIN:/opt"],
)
@pytest.mark.parametrize("tag", ["rpath", "runpath"])
def test_search_outside_the_wheel(entry: str, tag: str) -> None:
    content = shared_library(needed=["libany.so"], **{tag: entry or ":$ORIGIN"})  # type: ignore[arg-type]
    refused("wheel.unsupported", {MODULE: content})


@pytest.mark.parametrize("name", ["./liba.so", "libs/liba.so", "/opt/liba.so", "../sample.libs/liba.so"])
def test_library_needed_by_its_path(name: str) -> None:
    refused("wheel.unsupported", {MODULE: shared_library(needed=[name], rpath=LIBS)})


@pytest.mark.parametrize("soname", ["", "libother.so"])
def test_library_of_another_name_than_its_own(soname: str) -> None:
    module = shared_library(needed=["liba.so"], rpath=LIBS)
    refused("wheel.unsupported", {MODULE: module, "sample.libs/liba.so": shared_library(soname=soname)})


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not a library"])
def test_no_library(content: bytes) -> None:
    refused("wheel.unsupported", {MODULE: content})
    module = shared_library(needed=["liba.so"], rpath=LIBS)
    refused("wheel.unsupported", {MODULE: module, "sample.libs/liba.so": content})


def test_library_that_the_loader_refuses() -> None:
    broken = bytearray(shared_library(soname="libbroken.so"))
    broken[18:20] = b"\xff\xff"  # the machine
    module = shared_library(needed=["libbroken.so"], rpath=LIBS)
    refused("wheel.unsupported", {MODULE: module, "sample.libs/libbroken.so": bytes(broken)})


def test_chain_that_is_too_long() -> None:
    files = {MODULE: shared_library(needed=["lib0.so"], rpath=LIBS)}
    for number in range(MAX_DEPTH + 1):
        needed = [f"lib{number + 1}.so"]
        files[f"sample.libs/lib{number}.so"] = shared_library(soname=f"lib{number}.so", needed=needed, rpath="$ORIGIN")
    refused("wheel.unsupported", files)


def test_two_libraries_of_one_name() -> None:
    """The second would be loaded in the place of the first, before what it needs: that would be searched for."""
    libraries = {
        "one/libtwice.so": shared_library(soname="libtwice.so"),
        "two/libtwice.so": shared_library(soname="libtwice.so", needed=["libmore.so"], rpath=LIBS),
        "sample.libs/liba.so": shared_library(soname="liba.so", needed=["libtwice.so"], rpath="$ORIGIN/../one"),
        "sample.libs/libb.so": shared_library(soname="libb.so", needed=["libtwice.so"], rpath="$ORIGIN/../two"),
        "sample.libs/libmore.so": shared_library(soname="libmore.so"),
    }
    for needed in (["liba.so", "libb.so"], ["libb.so", "liba.so"]):
        files = {MODULE: shared_library(needed=needed, rpath=LIBS), **libraries}
        assert "two of the name" in refused("wheel.unsupported", files).what


def test_libraries_that_need_each_other_by_the_same_names_are_not_followed_again_and_again() -> None:
    """In each directory one that needs two of the next directory: there are as many ways as two to the power of 20."""
    files = {MODULE: shared_library(needed=["left.so", "right.so"], rpath="$ORIGIN/0")}
    for depth in range(20):
        for side in ("left", "right"):
            needed, below = ["left.so", "right.so"] if depth < 19 else [], f"$ORIGIN/{depth + 1}"
            path = f"sample_plugin/{'/'.join(map(str, range(depth + 1)))}/{side}.so"
            files[path] = shared_library(soname=f"{side}.so", needed=needed, rpath=below)
    asked: list[str] = []

    def dynamic(path: str) -> Dynamic:
        asked.append(path)
        return read_dynamic(files[path], path)

    with pytest.raises(Refused, match="two of the name"):
        find(MODULE, dynamic, files)
    assert len(asked) < 10


def circle(**search: str) -> dict[str, bytes]:
    """A module that needs a library that needs another that needs the first."""
    return {
        MODULE: shared_library(needed=["libround-a.so"], rpath=LIBS),
        "sample.libs/libround-a.so": shared_library(soname="libround-a.so", needed=["libround-b.so"], rpath="$ORIGIN"),
        "sample.libs/libround-b.so": shared_library(soname="libround-b.so", needed=["libround-a.so"], **search),  # type: ignore[arg-type]
    }


@pytest.mark.parametrize("search", [{}, {"runpath": "$ORIGIN"}, {"rpath": "$ORIGIN/elsewhere"}])
def test_circle_that_the_environment_could_enter(search: dict[str, str]) -> None:
    assert "DT_RPATH" in refused("wheel.unsupported", circle(**search)).expected


def test_deepest_first_and_each_once() -> None:
    def library(name: str, *needed: str) -> bytes:
        return shared_library(soname=name, needed=needed)

    files = {
        MODULE: shared_library(needed=["liba.so", "libd.so", "libc.so.6"], runpath=f"$ORIGIN:{LIBS}"),
        "sample.libs/liba.so": library("liba.so", "libb.so", "libd.so"),
        "sample.libs/libb.so": library("libb.so", "libd.so", "libm.so.6"),
        "sample.libs/libd.so": library("libd.so"),
        "elsewhere/libc.so.6": library("libc.so.6"),
    }
    needed = needed_in(files)
    assert list(needed.found) == ["libd.so", "libb.so", "liba.so"]
    assert not needed.is_circular


def test_first_directory_wins() -> None:
    files = {
        MODULE: shared_library(needed=["liba.so"], rpath=f"${{ORIGIN}}/near:{LIBS}"),
        "sample.libs/liba.so": shared_library(soname="liba.so"),
        "sample_plugin/near/liba.so": shared_library(soname="liba.so"),
    }
    assert needed_in(files).found == {"liba.so": "sample_plugin/near/liba.so"}


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A directory with an attacker's libraries, of the names that the wheels' have."""
    directory = tmp_path / "evil"
    directory.mkdir()
    for name in ("libhijack.so", "libround-a.so", "libround-b.so"):
        (directory / name).write_bytes(shared_library(soname=name, padding=b"evil"))
    return directory


def hijackable() -> dict[str, str | bytes]:
    """A wheel whose module lets the environment decide where its library is searched first."""
    return {
        MODULE: shared_library(needed=["libhijack.so"], runpath=LIBS),
        "sample.libs/libhijack.so": shared_library(soname="libhijack.so"),
    }


def test_the_environment_can_hijack_a_plain_import(evil: Path, tmp_path: Path) -> None:
    for path, content in hijackable().items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(bytes(content))  # type: ignore[arg-type]
    code = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print('evil' in open('/proc/self/maps').read())"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path / MODULE)],
        env={"LD_LIBRARY_PATH": str(evil)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"


def test_the_environment_cannot_hijack_ours(child: Child, evil: Path) -> None:
    said = child(IMPORT, hijackable(), environ={"LD_LIBRARY_PATH": str(evil)})
    assert said == "loaded /memfd:loadlock sample.libs/libhijack.so (deleted)\n"


def test_a_circle_is_loaded_past_the_environment(child: Child, evil: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    environ = {"LD_LIBRARY_PATH": str(evil), "TMPDIR": str(tmp_path / "scratch")}
    said = child(IMPORT, circle(rpath="$ORIGIN"), environ=environ)
    kept = [f"/memfd:loadlock sample.libs/libround-{which}.so (deleted)" for which in "ab"]
    assert said == f"loaded {'|'.join(kept)}\n"
    assert not list((tmp_path / "scratch").iterdir())


def test_nothing_is_left_of_a_directory_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_IN_MEMORY", str(tmp_path))
    with links.tree_of_links({"a/b/c.so": "/dev/null", "a/d.so": "/dev/zero", "e.so": "/dev/full"}) as places:
        assert [os.readlink(place) for place in places.values()] == ["/dev/null", "/dev/zero", "/dev/full"]
        [made] = tmp_path.iterdir()
        assert made.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())
    with pytest.raises(Refused) as refusal, links.tree_of_links({"a/b.so": "/dev/null", "a/b.so/c.so": "/dev/null"}):
        pass
    assert refusal.value.code == "wheel.unsupported"
    assert not list(tmp_path.iterdir())
    assert not any(str(tmp_path) in os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))


def test_a_circle_without_a_directory_for_its_links(child: Child, tmp_path: Path) -> None:
    code = "import tempfile; tempfile.tempdir = '/nonexistent'\n"
    code += "from verifier.importing import links; links._IN_MEMORY = '/nonexistent'\n"
    assert child(code + IMPORT, circle(rpath="$ORIGIN")) == "wheel.unsupported \n"


def test_the_current_directory_is_not_searched(child: Child, evil: Path) -> None:
    said = child(f"import os; os.chdir({str(evil)!r})\n{IMPORT}", hijackable(), environ={"LD_LIBRARY_PATH": ":."})
    assert said == "loaded /memfd:loadlock sample.libs/libhijack.so (deleted)\n"


def test_a_library_that_the_host_loaded_before(child: Child, evil: Path) -> None:
    code = f"import ctypes; ctypes.CDLL({str(evil / 'libhijack.so')!r})\n"
    said = child(code + IMPORT, hijackable())
    ours = "/memfd:loadlock sample.libs/libhijack.so (deleted)"  # it stays, and nothing that needs it is loaded
    assert said == f"wheel.shadowing {ours}|{evil / 'libhijack.so'}\n"


def plugin(number: int, padding: bytes) -> dict[str, str | bytes]:
    return {
        f"sample_{number}/fast.so": shared_library(needed=["libshared.so"], rpath="$ORIGIN"),
        f"sample_{number}/libshared.so": shared_library(soname="libshared.so", padding=padding),
    }


FIRST = """
try:
    plugins[0].import_module("sample_0.fast")
except PluginFailed:
    pass
"""


def test_a_library_of_another_plugin(child: Child) -> None:
    said = child(FIRST + IMPORT, plugin(0, b"one"), plugin(1, b"two"))
    assert said.startswith("wheel.shadowing ")


def test_the_same_library_in_two_plugins(child: Child) -> None:
    said = child(FIRST + IMPORT, plugin(0, b"one"), plugin(1, b"one"))
    assert said.startswith("loaded ")
    assert said.count("libshared") == 1


def test_forked_child_loads_libraries(child: Child) -> None:
    code = """
import os
from verifier.importing import libraries, sealed
libraries._LOCK.acquire()
sealed._LOCK.acquire()
process = os.fork()
if process:
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
else:
    import signal
    signal.alarm(10)
    try:
        plugins[0].import_module("sample_plugin.fast")
    except PluginFailed:
        os._exit(7)
"""
    assert child(code, hijackable()) == "7\n"


def test_descriptors_of_the_circle_are_closed(child: Child) -> None:
    code = """
import os
before = len(os.listdir("/proc/self/fd"))
try:
    plugins[0].import_module("sample_plugin.fast")
except PluginFailed:
    print(len(os.listdir("/proc/self/fd")) - before)
"""
    assert child(code, circle(rpath="$ORIGIN")) == "3\n"


def test_what_no_loader_maps_is_left_out_in_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_directory, "SETTLED", -(10**9))
    library, symbols = shared_library(padding=b"code" * 4 * mmap.PAGESIZE), os.urandom(16 * mmap.PAGESIZE)
    wheel = build_wheel({MODULE: library + symbols})
    path, seen = tmp_path / wheel.file_name, SeenFiles(PrivateCache(tmp_path / "cache"))
    path.write_bytes(wheel.data)
    sealed = []
    for _ in range(3):  # unpacked, kept and authenticated, kept and left alone
        snapshot = WheelFile(path, seen).snapshot()
        sealed.append(Path(libraries_of(snapshot.files).path_of(MODULE)))
    end = len(library) + -len(library) % mmap.PAGESIZE
    expected = (library + symbols)[:end] + bytes(len(library + symbols) - end)
    assert [place.read_bytes() == expected for place in sealed] == [True] * 3
    assert sealed[2].stat().st_blocks * 512 <= end


def asked(cache: PrivateCache, digest: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many libraries a start reads to know what a module of two libraries needs."""
    read = list[str]()

    def watched(content: bytes, path: str) -> Dynamic:
        read.append(path)
        return read_dynamic(content, path)

    monkeypatch.setattr(libraries, "read_dynamic", watched)
    files = {
        MODULE: shared_library(needed=["libkept-a.so"], rpath=LIBS),
        "sample.libs/libkept-a.so": shared_library(soname="libkept-a.so", needed=["libkept-b.so"], rpath="$ORIGIN"),
        "sample.libs/libkept-b.so": shared_library(soname="libkept-b.so"),
    }
    Libraries(digest, contents_of(files), cache).path_of(MODULE)
    return len(read)


def test_what_a_module_needs_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, digest = PrivateCache(tmp_path / "cache"), f"sha256:{uuid.uuid4().hex}"
    assert [asked(cache, digest, monkeypatch) for _ in range(3)] == [3, 0, 0]
    assert asked(cache, f"sha256:{uuid.uuid4().hex}", monkeypatch) == 3  # of another wheel nothing is known
    monkeypatch.setattr(needing, "RULE", b"another")
    assert asked(cache, digest, monkeypatch) == 3


def test_attack_53_what_a_module_needs_is_authentic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that says that a module needs nothing would leave the search for its libraries to the environment."""
    cache, digest = PrivateCache(tmp_path / "cache"), f"sha256:{uuid.uuid4().hex}"
    asked(cache, digest, monkeypatch)
    [entry] = [path for path in (tmp_path / "cache").iterdir() if path.name != "key"]
    of_another = PrivateCache(tmp_path / "other")
    of_another.store(needing.pack(Needed({}, is_circular=False)), "needed", b"any")
    [foreign] = [path for path in (tmp_path / "other").iterdir() if path.name != "key"]
    for content in (entry.read_bytes()[:32] + foreign.read_bytes()[32:], foreign.read_bytes(), entry.read_bytes()[:-1]):
        entry.write_bytes(content)
        assert asked(cache, digest, monkeypatch) == 3
        assert asked(cache, digest, monkeypatch) == 0


KEPT = """
import ctypes
from verifier.importing.libraries import Libraries
cache = PrivateCache(sys.argv.pop())
files = plugins[0].snapshot.files
if sys.argv.pop() == "second":
    ctypes.CDLL(sys.argv.pop())
    Libraries._dynamic = None  # nothing is read: what is needed is known
try:
    Libraries(plugins[0].snapshot.digest, files, cache).path_of("sample_plugin/fast.so")
    print("loaded")
except Refused as refusal:
    print(refusal.code)
"""


def test_who_came_first_is_asked_of_what_is_known_too(child: Child, evil: Path, tmp_path: Path) -> None:
    said = []
    for start in ("first", "second"):
        arguments = f"sys.argv += [{str(evil / 'libhijack.so')!r}, {start!r}, {str(tmp_path / 'cache')!r}]\n"
        said.append(child(arguments + KEPT, hijackable()))
    assert said == ["loaded\n", "wheel.shadowing\n"]
