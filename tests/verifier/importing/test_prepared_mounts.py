"""Prepared libraries: in which file systems they may lie, and how mounted. Each is really mounted, for one child."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.verifier.importing.children import run_child
from tests.verifier.importing.elf_files import shared_library
from verifier.importing.prepared import RootsDirectory

pytestmark = pytest.mark.usefixtures("as_root")

LIBRARY = shared_library()


@pytest.fixture
def mounting() -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets its root mount nothing")


def test_what_a_process_answers_for_is_copied() -> None:
    """A file system that is no file system: of root, of a mode that nobody may write to, and different each time."""
    with pytest.raises(OSError, match="/proc/sys lies in a file system 'proc'"):
        RootsDirectory("/proc/sys")


MOUNTED = """
from verifier.importing.prepared import RootsDirectory
path = Path({!r})
try:
    RootsDirectory(str(path)).open("library")
    print("opened")
except OSError as error:
    print(str(error).removeprefix(f"{{path}} "))
"""


@pytest.mark.usefixtures("mounting")
@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("true", "opened"),
        ('mount -t tmpfs -o noexec,mode=755 none "$1"', "lies in a file system that is mounted noexec"),
        ('mount -t ramfs -o mode=755 none "$1"', "lies in a file system 'ramfs'"),
    ],
)
def test_what_is_mounted_there_is_judged(bare: Path, place: Path, mount: str, said: str) -> None:
    (place / "library").touch(0o444)
    before = ["unshare", "--mount", "sh", "-c", f'{mount}; shift; exec "$@"', "sh", str(place)]
    assert run_child(bare, MOUNTED.format(str(place)), [], before=before) == f"{said}\n"


REMOUNTED = """
import subprocess
from verifier.importing.prepared import RootsDirectory
place = {!r}
directory = RootsDirectory(place)
subprocess.run(["mount", "--bind", "-o", "remount,bind,noexec", place], check=True)
try:
    directory.open("library")
except OSError as error:
    print(error)
"""


@pytest.mark.usefixtures("mounting")
def test_what_the_system_would_not_run_is_copied(bare: Path, place: Path) -> None:
    """As an access module of the system may decide of a file, without a word of it in any mode or option."""
    (place / "library").write_bytes(LIBRARY)
    before = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$1"; shift; exec "$@"', "sh", str(place)]
    assert "not permitted" in run_child(bare, REMOUNTED.format(str(place)), [], before=before)


IDMAPPED = """
import ctypes, os, signal
from verifier.importing.prepared import RootsDirectory
libc = ctypes.CDLL(None, use_errno=True)
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR, HERE = 428, 429, 442, -100
CLONE, EMPTY_PATH, IDMAP, FROM_EMPTY_PATH, NEWUSER = 1, 0x1000, 0x100000, 4, 0x10000000
place = {!r}
end, begin = os.pipe()
child = os.fork()
if not child:
    assert libc.unshare(NEWUSER) == 0
    os.write(begin, b"x")
    signal.pause()
os.read(end, 1)
for kind in ("uid", "gid"):
    Path(f"/proc/{{child}}/{{kind}}_map").write_text("4711 0 1")
namespace = os.open(f"/proc/{{child}}/ns/user", os.O_RDONLY)
tree = libc.syscall(OPEN_TREE, HERE, place.encode(), CLONE)
attributes = (ctypes.c_uint64 * 4)(IDMAP, 0, 0, namespace)
assert libc.syscall(MOUNT_SETATTR, tree, b"", EMPTY_PATH, attributes, ctypes.sizeof(attributes)) == 0
assert libc.syscall(MOVE_MOUNT, tree, b"", HERE, place.encode(), FROM_EMPTY_PATH) == 0
os.kill(child, 9)
os.waitpid(child, 0)
print(os.stat(f"{{place}}/library").st_uid)
try:
    RootsDirectory(place).open("library")
    print("opened")
except OSError as error:
    print(error)
"""


@pytest.mark.usefixtures("mounting")
def test_whose_a_file_is_below_a_mount_counts(bare: Path, place: Path) -> None:
    """Another user's file that the mount shows as root's: that user writes to it where it is not mounted so."""
    (place / "library").write_bytes(LIBRARY)
    for path in (place / "library", place):
        os.chown(path, 4711, 4711)
    said = run_child(bare, IDMAPPED.format(str(place)), [], before=["unshare", "--mount"])
    assert said == f"0\n{place} lies in a file system that is mounted idmapped\n"
