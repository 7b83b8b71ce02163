"""Names of files inside a wheel: plain relative paths that mean the same on every file system.

``docs/spec/wheel.md`` ("Names") gives the rules. Nothing here touches a file system.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

from verifier.errors import Refused
from verifier.formats.patterns import compiled
from verifier.formats.text import caseless

MAX_PATH_BYTES: Final = 512
MAX_PART_BYTES: Final = 255
MAX_PARTS: Final = 32

_SHOWN: Final = 120
_PLAIN: Final = r"[A-Za-z0-9_\-+@=,!~#$%&'()\[\]{};^` ./]+"
_PART: Final = r"(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:[./\n]|\Z))[A-Za-z0-9_.+-]*[A-Za-z0-9_+-]"
_COMMON: Final = rf"(?:{_PART}/){{0,{MAX_PARTS - 1}}}{_PART}"
_ALL_COMMON: Final = rf"(?>{_COMMON}\n)*+{_COMMON}"
_RESERVED_CHARACTERS: Final = frozenset('\\:*?"<>|')
_DEVICE: Final = r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?"


def shown(name: str | bytes) -> str:
    """A name from an untrusted file as it may be printed: quoted, escaped and cut to a readable length."""
    return ascii(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!a}…"


def check_path(path: str) -> None:
    """Refuse a path that is not plainly relative or that some file system would change.

    Args:
        path: the name of a file or, without its closing ``/``, of a directory.

    Raises:
        Refused: ``wheel.path``.
    """
    if len(path) <= MAX_PART_BYTES and compiled(_COMMON).fullmatch(path):
        return  # one look at what nearly every path is; of any other, what follows says whether and why not
    size = len(path.encode("utf-8", "surrogatepass"))
    if size > MAX_PATH_BYTES:
        raise _refusal(path, f"{size} bytes", f"at most {MAX_PATH_BYTES} bytes")
    if compiled(_PLAIN).fullmatch(path) is None:
        _check_characters(path)
    parts = path.split("/")
    if len(parts) > MAX_PARTS:
        raise _refusal(path, f"{len(parts)} parts", f"at most {MAX_PARTS}")
    for part in parts:
        _check_part(path, part)


def check_names(names: Sequence[str]) -> None:
    """Refuse names of which one is no plainly relative path, or could land on another.

    Args:
        names: of files, and of directories with a closing ``/``.

    Raises:
        Refused: ``wheel.path``; ``wheel.archive`` or ``wheel.collision`` as :meth:`Tree.add`.
    """
    if _are_common(names):
        return
    tree = Tree()
    for name in names:
        path = name.removesuffix("/")
        check_path(path)
        tree.add(path, directory=path != name)


def _are_common(names: Sequence[str]) -> bool:
    """Whether these are names of files as nearly all are, and none could land on another; of others :class:`Tree` says.

    A few looks at all of them together, and not a few at each.
    """
    together = "\n".join(names)
    if together.count("\n") >= len(names) or max(map(len, names)) > MAX_PART_BYTES:
        return False
    if compiled(_ALL_COMMON).fullmatch(together) is None:
        return False
    directories: set[str] = set()
    for parent in {name.rpartition("/")[0] for name in names}:
        while parent and parent not in directories:
            directories.add(parent)
            parent = parent.rpartition("/")[0]  # noqa: PLW2901 - and on to the next one above
    nodes = directories.union(names)
    return len(nodes) == len(names) + len(directories) and len({*map(str.lower, nodes)}) == len(nodes)


class Tree:
    """The files and directories seen so far, kept to refuse the first name that could land on another."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[str, bool]] = {}
        self._directories: set[str] = set()
        self._named: set[tuple[str, bool]] = set()

    def add(self, path: str, *, directory: bool) -> None:
        """Take in one entry of the archive.

        Args:
            path: a path that :func:`check_path` accepted.
            directory: whether the entry is a directory.

        Raises:
            Refused: ``wheel.archive`` for a name that occurs twice; ``wheel.collision`` for one that some file system
                takes for another.
        """
        node = (path, directory)
        if node in self._named:
            raise Refused("wheel.archive", "the archive names an entry twice", found=shown(path))
        self._named.add(node)
        while True:
            other = self._nodes.setdefault(caseless(node[0]), node)
            if other != node:
                raise Refused(
                    "wheel.collision",
                    "two entries of the archive would land on one file",
                    found=f"{shown(other[0])} and {shown(node[0])}",
                    expected="names that differ by more than case, compatibility form, or being a directory",
                )
            parent = node[0].rpartition("/")[0]
            if not parent or parent in self._directories:
                return
            self._directories.add(parent)
            node = (parent, True)


def _check_characters(path: str) -> None:
    for character in path:
        if character in _RESERVED_CHARACTERS or unicodedata.category(character)[0] == "C":
            raise _refusal(path, f"the character {character!a}", "printable characters, '/' between parts")
    if unicodedata.normalize("NFC", path) != path:
        raise _refusal(path, "decomposed characters", "Unicode normalisation form C")


def _check_part(path: str, part: str) -> None:
    if part in ("", ".", ".."):
        raise _refusal(path, f"the part {part!a}", "a relative path without empty parts, '.' or '..'")
    if part[-1] in ". ":
        raise _refusal(path, "a part that ends in a dot or a space", "names that Windows does not shorten")
    if compiled(_DEVICE).fullmatch(part):
        raise _refusal(path, f"the device name {part!a}", "names that mean files everywhere")
    if len(part) * 4 > MAX_PART_BYTES and len(part.encode()) > MAX_PART_BYTES:
        raise _refusal(path, f"a part of {len(part.encode())} bytes", f"at most {MAX_PART_BYTES} bytes")


def _refusal(path: str, found: str, expected: str) -> Refused:
    return Refused(
        "wheel.path", f"the entry {shown(path)} is not a plain relative path", found=found, expected=expected
    )
