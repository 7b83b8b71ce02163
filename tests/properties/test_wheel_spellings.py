"""The parts of a wheel that are spelled as tools spell them are read in one go, and judged like any other spelling.

As in ``test_spellings.py``, each is read again with something added or changed that means nothing and that no tool
writes: a field without a value before METADATA and WHEEL, other ends of the lines of RECORD, a directory with a tilde
before a path.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.test_formats import PROPERTY
from tests.properties.test_spellings import outcome
from tests.wheels import contents_of, record_row
from verifier.wheels.core_metadata import parse_metadata, parse_wheel_file
from verifier.wheels.record import check_record
from verifier.wheels.wheel_paths import check_names, check_path

# -- METADATA and WHEEL ------------------------------------------------------------------------------------------------

METADATA = (
    "Metadata-Version: 2.1\nName: a-b\nVersion: 1.0\nAuthor: José\nRequires-Dist: x>=1\nLicense: MIT\n more\n"
    "Requires-Python: >=3\n\nbody\n"
)
WHEEL = "Wheel-Version: 1.0\nGenerator: x (1)\nRoot-Is-Purelib: true\nTag: py3-none-any\nBuild: 1\n\n"
PIECES = st.sampled_from(
    [
        "\n", "\n\n", "\r", "\r\n", " ", "\t", "\x00", "\x0b", "\x85", "\u2028", "é", ":", ": ", "Name: ", "name:",
        "Version: 1.0\n", "Requires-Dist: attrs>=1\n", "License: x", "From x", "From: y\n", "Metadata-Version: 2.1\n",
        "Content-Type: multipart/mixed; boundary=a\n", "--a\n", "License-Expression: MIT\n", "Tag: py2-none-any\n",
        "\n more\n", "\n\tmore", "\rName: b\n", "\rTag: py2-none-any", "\nComment: c\n more\n",
    ]
)  # fmt: skip


@pytest.mark.parametrize(("document", "read"), [(METADATA, parse_metadata), (WHEEL, parse_wheel_file)])
@settings(PROPERTY, max_examples=500)
@given(changes=st.lists(st.tuples(st.integers(0), PIECES, st.integers(0, 3)), max_size=4))
def test_fields_of_a_wheel(document: str, read: Callable[[bytes], object], changes: list[tuple[int, str, int]]) -> None:
    for place, piece, length in changes:
        at = place % (len(document) + 1)
        document = document[:at] + piece + document[at + length :]
    if not document.startswith((" ", "\t", "\n", "\r")):  # what is put before would take that in
        assert outcome(read, document.encode()) == outcome(read, f"Comment:\n{document}".encode())


# -- RECORD ------------------------------------------------------------------------------------------------------------

OWN = "d.dist-info/RECORD"
FILES = {"a.py": b"A = 1\n", "a,b.py": b"", "\u00e9/c.py": b"C", '"q".py': b"Q", OWN: b""}
ROWS = [record_row(path, content) for path, content in FILES.items() if path != OWN] + [f"{OWN},,"]
QUOTED = [f'"{row.rsplit(",", 2)[0].replace(chr(34), chr(34) * 2)}",{",".join(row.rsplit(",", 2)[1:])}' for row in ROWS]
SCRAPS = st.sampled_from(
    ["\n", "\r", ",", '"', "a", "0", "\x00", "\x0b", "\u2028", "\u0661", " ", "=", "d.dist-info/RECORD.jws"]
)


@settings(PROPERTY, max_examples=500)
@given(
    paths=st.sets(st.sampled_from(sorted(FILES)), min_size=1),
    rows=st.lists(st.sampled_from(ROWS + QUOTED[1:4]), max_size=6),
    change=st.tuples(st.integers(0), SCRAPS | st.just(""), st.integers(0, 2)),
    ends=st.booleans(),
)
def test_any_record(paths: set[str], rows: list[str], change: tuple[int, str, int], ends: bool) -> None:
    own = [path for path in paths if path != OWN]
    right = [row for row in ROWS if row.rsplit(",", 2)[0] in {*own, OWN}]
    for written in ("\n".join(rows), "\n".join(right) + "\n" * ends):
        place, scrap, length = change
        at = place % (len(written) + 1)
        changed = written[:at] + scrap + written[at + length :]
        plain, windows = (
            {path: FILES[path] for path in own} | {OWN: text.encode()}
            for text in (changed, changed.replace("\n", "\r\n"))
        )
        if "\r" not in changed:
            assert outcome(holds, plain) == outcome(holds, windows)


def holds(files: dict[str, bytes]) -> None:
    check_record(contents_of(files), "d.dist-info")


# -- paths -------------------------------------------------------------------------------------------------------------

PARTS = st.sampled_from(
    [
        "con", "CON.txt", "aux", "nul.", "prn-", "com0", "com10", "com\u00b9", "lpt1", "conin$", "a", "b.py", "a.b.c",
        "..", ".", "", "-", "+", "_", "é", "\u212a", "\u0131", " ", "\n", "\\", ":", "x" * 130,
    ]
)  # fmt: skip


@PROPERTY
@given(st.lists(st.lists(PARTS, max_size=3).map("".join), min_size=1, max_size=8).map("/".join))
def test_any_path(path: str) -> None:
    if len(path.encode()) < 255:  # a longer one could be too long with what is put before
        assert outcome(check_path, path) == outcome(check_path, f"~/{path}")


NAMES = st.sampled_from(
    ["", "/", "a", "A", "a/", "a/b", "a/B", "a/b/", "a/b/c", "A/b/c", "b", "b\n", "a\nb", "con", "a//b", "é"]
)


@settings(PROPERTY, max_examples=500)
@given(st.lists(NAMES, max_size=5))
def test_any_names_of_one_archive(names: list[str]) -> None:
    assert outcome(check_names, names) == outcome(check_names, [*names, "~"])


def test_the_caps_of_paths() -> None:
    for path in (
        "/".join("a" * 32),
        "/".join("a" * 33),
        "a" * 255,
        "a" * 256,
        "a/" * 16 + "b" * 224,
        "a/" * 20 + "b" * 255,
    ):
        is_right = path.count("/") < 32 and len(path.rpartition("/")[2]) < 256
        assert (outcome(check_path, path)[0] == "value") == is_right
        assert (outcome(check_names, ["a.py", path, "b/c.py"])[0] == "value") == is_right
