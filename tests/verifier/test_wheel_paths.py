"""Names that some file system would change, merge or follow elsewhere are refused."""

from __future__ import annotations

import pytest

from tests.wheels import Entry, pack
from verifier.errors import Refused
from verifier.wheels.archive import read_archive
from verifier.wheels.wheel_paths import check_path, shown

ESCAPING = [
    "/etc/passwd",
    "../evil.py",
    "pkg/../../evil.py",
    "pkg/./a.py",
    "pkg//a.py",
    ".",
    "..",
    "",
    "pkg\\a.py",
    "..\\evil.py",
    "C:/evil.py",
    "C:evil.py",
    "a.py:stream",
    "\\\\server\\share\\a.py",
    "pkg/a\x00.py",
    "pkg/a\n.py",
    "pkg/a\x1b[31m.py",
    "pkg/a\x7f.py",
    "pkg/\u202eyp.a",
    "pkg/\u200ba.py",
    "pkg/\ue000.py",
    "pkg/what?.py",
    "pkg/*.py",
    'pkg/"a".py',
    "pkg/<a>.py",
    "pkg/a|b.py",
    "pkg/CON",
    "pkg/nul.py",
    "aux/a.py",
    "pkg/COM1.txt",
    "pkg/lpt\u00b9.txt",
    "pkg/NUL .txt",
    "pkg/conout$",
    "pkg/a.py.",
    "pkg./a.py",
    "pkg/a.py ",
    "pkg /a.py",
    "pkg/e\u0301.py",
    "x" * 256,
    "\u00e9" * 128,
    "/".join(["deep"] * 33),
    "/".join(["x" * 200] * 3),
]


@pytest.mark.parametrize("path", ESCAPING, ids=ascii)
def test_escaping(path: str) -> None:
    with pytest.raises(Refused) as refusal:
        check_path(path)
    assert refusal.value.code == "wheel.path"
    assert str(refusal.value).isprintable() or "\n" in str(refusal.value)
    assert path == "" or not any(character in str(refusal.value) for character in "\x00\x1b\x7f\u202e\u200b")


@pytest.mark.parametrize("path", [path for path in ESCAPING if path], ids=ascii)
def test_escaping_in_an_archive(path: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_archive(pack([Entry(path, b"evil")]))
    assert refusal.value.code == "wheel.path"


COLLIDING = [
    ("pkg/a.py", "pkg/A.py"),
    ("pkg/a.py", "PKG/b.py"),
    ("pkg/stra\u00dfe.py", "pkg/STRASSE.py"),
    ("pkg/\ufb01.py", "pkg/fi.py"),
    ("pkg/\uff4b.py", "pkg/k.py"),
    ("pkg/a", "pkg/a/b.py"),
    ("pkg/a/b.py", "pkg/a"),
    ("pkg/A/b.py", "pkg/a"),
    ("pkg/", "PKG/"),
    ("pkg", "pkg/"),
]


@pytest.mark.parametrize("pair", COLLIDING, ids=ascii)
def test_colliding(pair: tuple[str, str]) -> None:
    entries = [Entry(name, method=0, mode=0) for name in pair]
    with pytest.raises(Refused) as refusal:
        read_archive(pack(entries))
    assert refusal.value.code == "wheel.collision"


@pytest.mark.parametrize(
    "path",
    [
        "pkg/script (dev).tmpl",
        "pkg/a-b+c@1.py",
        "pkg/.hidden",
        "pkg/...a",
        "pkg/\u00fcn\u00ef.py",
        "pkg/\u65e5\u672c\u8a9e.py",
        "pkg/console.py",
        "pkg/com10.py",
        "pkg/auxiliary.py",
        "x" * 255,
    ],
    ids=ascii,
)
def test_plain(path: str) -> None:
    check_path(path)


def test_shown_is_short_and_plain() -> None:
    assert shown("a\x1b[31m") == "'a\\x1b[31m'"
    assert len(shown("x" * 100_000)) < 200
