"""Prepared libraries: run where they lie if this process cannot change them, and copied into sealed memory if it could.

Each refusal here is silent for the host: the library is copied, as it would be if nobody had prepared it.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.verifier.importing.children import DROP, run_child
from tests.verifier.importing.conftest import compiled
from tests.verifier.importing.elf_files import shared_library
from tests.verifier.importing.test_libraries import LIBS, MODULE
from tests.wheels import build_wheel, contents_of
from verifier import private_directory
from verifier.importing import prepared, sealed
from verifier.importing.elf import RULE
from verifier.importing.libraries import Libraries
from verifier.importing.prepared import Prepared, RootsDirectory, require_powerless
from verifier.private_cache import PrivateCache
from verifier.shelves import Shelf

LIBRARY = shared_library()
SHA256 = hashlib.sha256(LIBRARY).digest()

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture
def laid(place: Path) -> Path:
    """A prepared library."""
    return lay(place, LIBRARY)


@pytest.fixture
def powerless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that could not act as root; what that is has tests of its own, with processes that really cannot."""
    monkeypatch.setattr(prepared, "require_powerless", lambda: None)
    monkeypatch.setattr(private_directory, "SETTLED", -(10**10))  # what was written now has been left alone


@pytest.fixture
def cache(tmp_path: Path) -> PrivateCache:
    return PrivateCache(tmp_path / "cache")


def lay(place: Path, content: bytes) -> Path:
    path = place / hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    path.chmod(0o444)
    return path


def mapped(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def libraries_at(place: Path, cache: PrivateCache, content: bytes = LIBRARY) -> Libraries:
    """Those of a wheel with a digest of its own."""
    return Libraries(f"sha256:{uuid.uuid4().hex}", contents_of({MODULE: content}), cache, Prepared(place, cache))


def used(place: Path, cache: PrivateCache) -> bool:
    """Whether a new start runs the library where it lies; as if the process before had ended."""
    before = dict(sealed._FILES)
    found = libraries_at(place, cache).path_of(MODULE)
    for key in sealed._FILES.keys() - before.keys():
        del sealed._FILES[key]
    assert Path(found).read_bytes() == LIBRARY
    path = place / SHA256.hex()
    return path.exists() and mapped(found) == mapped(str(path))


# -- what is used ------------------------------------------------------------------------------------------------------


def test_a_prepared_library_is_run_where_it_lies(laid: Path, cache: PrivateCache, powerless: None) -> None:
    assert used(laid.parent, cache)


def test_what_a_module_needs_is_run_where_it_lies(place: Path, cache: PrivateCache, powerless: None) -> None:
    """Also libraries that need each other, which the system's loader searches in a directory of links."""
    names = {name: f"lib{name}-{uuid.uuid4().hex[:8]}.so" for name in "ab"}
    files = {
        MODULE: shared_library(needed=[names["a"]], rpath=LIBS),
        f"sample.libs/{names['a']}": shared_library(soname=names["a"], needed=[names["b"]], rpath="$ORIGIN"),
        f"sample.libs/{names['b']}": shared_library(soname=names["b"], needed=[names["a"]], rpath="$ORIGIN"),
    }
    for content in files.values():
        lay(place, content)
    Libraries("sha256:0", contents_of(files), cache, Prepared(place, cache)).path_of(MODULE)
    assert {file.origin for key, file in sealed._FILES.items() if key[0] == "sha256:0"} == {"prepared"}


def test_a_library_is_hashed_once(
    laid: Path, cache: PrivateCache, powerless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert used(laid.parent, cache)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert used(laid.parent, cache)


def test_what_was_just_written_is_not_relied_on(
    laid: Path, cache: PrivateCache, powerless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_directory, "SETTLED", 3600 * 10**9)
    assert used(laid.parent, cache)
    with laid.open("rb") as stream:
        assert Shelf(cache, "prepared").load(SHA256, private_directory.change_of(stream.fileno())) is None


def test_a_descriptor_that_was_closed_is_opened_again(laid: Path, cache: PrivateCache, powerless: None) -> None:
    libraries = libraries_at(laid.parent, cache)
    first = libraries.path_of(MODULE)
    os.close(int(first.rpartition("/")[2]))
    second = libraries.path_of(MODULE)
    assert second != first
    assert mapped(second) == mapped(str(laid))


def test_two_wheels_never_share_one_library(laid: Path, cache: PrivateCache, powerless: None) -> None:
    """The system's loader would take the second for the first, and both would have one state."""
    wheels = [libraries_at(laid.parent, cache) for _ in range(2)]
    places = [mapped(wheel.path_of(MODULE)) == mapped(str(laid)) for wheel in wheels]
    assert places == [True, False]


def test_others_are_told_of_what_was_sealed_only(laid: Path, cache: PrivateCache, powerless: None) -> None:
    digest = f"sha256:{uuid.uuid4().hex}"
    libraries = Libraries(digest, contents_of({MODULE: LIBRARY}), cache, Prepared(laid.parent, cache))
    libraries.path_of(MODULE)
    libraries.tell()
    assert sealed.holding((digest, MODULE)) is None
    assert cache.load("held", digest.encode(), RULE) is None


# -- what is copied: it is not what it should be -----------------------------------------------------------------------


def test_what_nobody_prepared_is_copied(place: Path, cache: PrivateCache, powerless: None) -> None:
    assert not used(place, cache)
    assert not used(place / "missing", cache)


@pytest.mark.parametrize("known", [False, True])
def test_attack_2_other_content_under_the_name_is_not_run(
    laid: Path, cache: PrivateCache, powerless: None, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if known:
        assert used(laid.parent, cache)
    before = laid.stat()
    laid.write_bytes(LIBRARY[:-1] + bytes([LIBRARY[-1] ^ 1]))
    os.utime(laid, ns=(before.st_atime_ns, before.st_mtime_ns))  # the time of change tells all the same
    assert not used(laid.parent, cache)
    assert "not the sha256" in caplog.text


def test_attack_53_what_is_known_of_one_file_says_nothing_of_another(
    laid: Path, cache: PrivateCache, powerless: None
) -> None:
    assert used(laid.parent, cache)
    content = laid.read_bytes()
    laid.unlink()
    laid.write_bytes(b"\x7fELF" + content[4:-1] + b"!")
    laid.chmod(0o444)
    assert not used(laid.parent, cache)


def test_a_link_is_not_followed(laid: Path, cache: PrivateCache, powerless: None) -> None:
    laid.rename(laid.with_name("elsewhere"))
    laid.symlink_to("elsewhere")
    assert not used(laid.parent, cache)


def test_a_directory_is_no_library(laid: Path) -> None:
    laid.unlink()
    laid.mkdir()
    with pytest.raises(OSError, match="no regular file"):
        RootsDirectory(str(laid.parent)).open(laid.name)


def test_a_pipe_is_not_waited_for(laid: Path, cache: PrivateCache, powerless: None) -> None:
    laid.unlink()
    os.mkfifo(laid, 0o444)
    assert not used(laid.parent, cache)


# -- what is copied: somebody could change it --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: os.chown(path, 65534, -1), "user 65534, mode 0444"),
        (lambda path: path.chmod(0o464), "user 0, mode 0464"),
        (lambda path: path.chmod(0o446), "user 0, mode 0446"),
        (lambda path: os.chown(path.parent, 65534, -1), "user 65534, mode 0755"),
        (lambda path: path.parent.chmod(0o775), "user 0, mode 0775"),
        (lambda path: path.parent.chmod(0o1777), "user 0, mode 1777"),
    ],
)
def test_what_others_could_change_is_copied(
    laid: Path,
    cache: PrivateCache,
    powerless: None,
    change: Callable[[Path], None],
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert used(laid.parent, cache)  # that it was in order before counts for nothing
    change(laid)
    assert not used(laid.parent, cache)
    assert why in caplog.text


def test_the_directories_above_are_roots_too(place: Path) -> None:
    """Who can exchange a directory decides what lies in it: a file of root that root writes to, at somebody's word."""
    inner = place / "a" / "b"
    inner.mkdir(parents=True)
    RootsDirectory(str(inner))
    (place / "link").symlink_to("a")
    RootsDirectory(str(place / "link" / "b"))  # judged where it leads to
    for change, back in ((lambda path: path.chmod(0o777), 0o755), (lambda path: os.chown(path, 65534, -1), 0o755)):
        change(place / "a")
        with pytest.raises(OSError, match="a is not root's alone"):
            RootsDirectory(str(inner))
        os.chown(place / "a", 0, -1)
        (place / "a").chmod(back)


# -- who is powerless --------------------------------------------------------------------------------------------------


POWER = """
import ctypes, fcntl, os
from verifier.importing.prepared import require_powerless
libc, KEEPCAPS, NEWUSER = ctypes.CDLL(None), 8, 0x10000000
LAST, NONE = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()

def enter_namespace(owner, user):
    "Become a user that has no rights, in a namespace of the owner's, in which others are root."
    made, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.read(made[0], 1)
        Path(f"/proc/{{child}}/uid_map").write_text("0 100000 1000\\n1000 1000 1000\\n")
        os.write(mapped[1], b"x")
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.setresuid(owner, owner, owner)
    assert libc.unshare(NEWUSER) == 0
    os.write(made[1], b"x")
    os.read(mapped[0], 1)
    os.setresuid(user, user, user)
    assert libc.capset(LAST, NONE) == 0

{}
try:
    require_powerless()
    print("powerless")
except OSError as error:
    print(error)
"""

ROOT, RIGHTS = "this process is root, or can become root", "this process has rights of root's: capabilities"


@pytest.mark.parametrize(
    ("drop", "why"),
    [
        ("", ROOT),
        (DROP, "powerless"),
        ("os.setresuid(65534, 65534, 0)", ROOT),
        ("os.setresuid(0, 65534, 65534)", ROOT),
        ("os.setresuid(65534, 65534, 0); assert libc.capset(LAST, NONE) == 0", ROOT),  # and it has nothing else
        (f"assert libc.prctl(KEEPCAPS, 1, 0, 0, 0) == 0; {DROP}", RIGHTS),
        ("enter_namespace(1000, 1000)", "this process's user owns the user namespace"),
        ("enter_namespace(1000, 1001)", "powerless"),
    ],
)
def test_who_could_act_as_root(bare: Path, drop: str, why: str) -> None:
    assert run_child(bare, POWER.format(drop), []).startswith(why)


def test_a_host_that_is_root_copies(laid: Path, cache: PrivateCache, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OSError, match="is root"):
        require_powerless()
    libraries = Libraries(
        "sha256:1", contents_of({MODULE: LIBRARY, "b.so": LIBRARY}), cache, Prepared(laid.parent, cache)
    )
    assert mapped(str(laid)) not in {mapped(libraries.path_of(path)) for path in (MODULE, "b.so")}
    assert caplog.text.count("this process is root") == 1


IMPORT = """
import fcntl, json, os
import verifier.importing.libraries, verifier.importing.prepared
from verifier.wheels.snapshot import Contents
directory, cache, path = sys.argv[-3:]
os.chown(cache, 65534, 65534)
content = Path(path).read_bytes()
poured = []
Contents.pour = lambda files, path, *rest: poured.append(path)
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
plugin = register(read_wheel(content, Path(path).name), cache=CodeCache(PrivateCache(cache), directory))
assert callable(plugin.import_module("rpds.rpds").HashTrieMap)
[inode] = {line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines() if directory in line}
[file] = verifier.importing.sealed._FILES.values()
try:
    os.open(f"/proc/self/fd/{file.descriptor}", os.O_RDWR)
except PermissionError:
    print(json.dumps([poured, int(inode)]))
"""


def test_a_host_that_is_not_root_runs_it_and_cannot_change_it(bare: Path, place: Path) -> None:
    wheel = build_wheel({"rpds/__init__.py": "", "rpds/rpds.abi3.so": compiled("rpds.rpds")}, name="rpds-py")
    path = place / wheel.file_name
    path.write_bytes(wheel.data)
    (place / "cache").mkdir(0o700)
    library = lay(place, compiled("rpds.rpds"))
    begin = f"import sys; sys.argv += {[str(place), str(place / 'cache'), str(path)]!r}\n"
    assert run_child(bare, begin + IMPORT, []) == f"[[], {library.stat().st_ino}]\n"
