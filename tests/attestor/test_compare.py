"""Four verdicts, none taken for another; and every difference named with its place."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import pytest

from attestor.building import compare as module
from attestor.building.compare import MAX_DIFF_WIDTH, Candidate, Comparison, Verdict, compare
from tests.wheels import Entry, pack, pack_files, record, wheel_files
from verifier.errors import Refused

NAME = "sample_plugin-1.0-py3-none-any.whl"
INFO = "sample_plugin-1.0.dist-info"
SOURCE = "def hello() -> str:\n    return 'hello'\n"


def files(**more: str | bytes) -> dict[str, bytes]:
    return wheel_files(
        {"sample_plugin/__init__.py": SOURCE, **{name.replace("_py", ".py"): v for name, v in more.items()}}
    )


def verdict(one: bytes, other: bytes, other_name: str = NAME) -> Comparison:
    return compare(Candidate("the rebuilt wheel", NAME, one), Candidate("the published wheel", other_name, other))


def places(comparison: Comparison) -> set[tuple[str, str]]:
    return {(one.entry, one.field) for one in comparison.differences}


SOUND = files()
PLAIN = pack_files(SOUND)


def with_headers(**fields: object) -> bytes:
    """The sound wheel with other headers at its first file."""
    first, *rest = [Entry(path, content) for path, content in SOUND.items()]
    return pack([Entry(first.name, first.data, **fields), *rest])  # type: ignore[arg-type]


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damaged", "code"),
    [
        (b"", "wheel.archive"),
        (PLAIN + b"\0", "wheel.archive"),
        (pack_files({**SOUND, "sample_plugin/__init__.py": b"other"}), "wheel.record"),
        (pack_files(wheel_files({"sitecustomize.py": ""})), "wheel.forbidden"),
        (pack_files(wheel_files({"a.py": ""}, version="2.0")), "wheel.metadata"),
    ],
)
def test_what_the_strict_reader_refuses_is_not_compared(damaged: bytes, code: str) -> None:
    for one, other, title in (
        (damaged, PLAIN, "the rebuilt wheel"),
        (PLAIN, damaged, "the published wheel"),
        (damaged, damaged, "the rebuilt wheel"),
    ):
        with pytest.raises(Refused) as caught:
            verdict(one, other)
        assert caught.value.code == code
        assert caught.value.what.startswith(f"{title} cannot be compared: ")


# -- the verdicts ------------------------------------------------------------------------------------------------------


def test_the_same_bytes_are_bit_identical() -> None:
    assert verdict(PLAIN, bytes(PLAIN)) == Comparison(Verdict.BIT_IDENTICAL)


HEADERS: Mapping[str, tuple[bytes, set[tuple[str, str]]]] = {
    "time": (with_headers(both={"time": 1, "date": 0x21}), {("sample_plugin/__init__.py", "time")}),
    "mode": (with_headers(mode=0o100755), {("sample_plugin/__init__.py", "mode")}),
    "stored": (with_headers(method=0), {("sample_plugin/__init__.py", "compression")}),
    "system": (
        with_headers(central={"made_by": 20}),
        {("sample_plugin/__init__.py", "system")},
    ),
    "version": (with_headers(both={"version": 10}), {("sample_plugin/__init__.py", "needed version")}),
    "internal": (with_headers(central={"internal": 1}), {("sample_plugin/__init__.py", "internal attributes")}),
    "extra": (
        with_headers(both={"extra": b"UT\x05\x00\x01\x00\x00\x00\x00"}),
        {("sample_plugin/__init__.py", "extra fields")},
    ),
    "order": (pack_files(dict(reversed(SOUND.items()))), {("", "order of entries, from place 1 on")}),
    "directory": (
        pack([Entry("sample_plugin/", method=0, mode=0o040755), *(Entry(*item) for item in SOUND.items())]),
        {("sample_plugin/", "directory entry")},
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_other_headers_alone_are_their_own_verdict(name: str) -> None:
    other, expected = HEADERS[name]
    for one, two in ((PLAIN, other), (other, PLAIN)):
        found = verdict(one, two)
        assert found.verdict == Verdict.HEADERS
        assert places(found) == expected


def test_the_same_files_compressed_by_another_compressor_are_content_identical() -> None:
    deflate = zlib.compressobj(0, wbits=-zlib.MAX_WBITS)
    packed = deflate.compress(SOURCE.encode()) + deflate.flush()
    found = verdict(PLAIN, with_headers(packed=packed, both={"packed": len(packed)}))
    assert found.verdict == Verdict.CONTENT
    (only,) = found.differences
    assert only.field.startswith("compressed data")
    assert only.other == f"{len(packed)} bytes"


def test_compression_and_headers_together_are_content_identical_with_both_named() -> None:
    deflate = zlib.compressobj(0, wbits=-zlib.MAX_WBITS)
    packed = deflate.compress(SOURCE.encode()) + deflate.flush()
    found = verdict(PLAIN, with_headers(mode=0o100755, packed=packed, both={"packed": len(packed)}))
    assert found.verdict == Verdict.CONTENT
    assert {field.partition(" (")[0] for _, field in places(found)} == {"mode", "compressed data"}


@pytest.mark.parametrize(
    "other",
    [
        files(more_py=""),
        wheel_files({"sample_plugin/__init__.py": SOURCE + "\n"}),
        wheel_files({"sample_plugin/other.py": SOURCE}),
        wheel_files({"sample_plugin/__init__.py": SOURCE}, metadata_lines=["Summary: another"]),
    ],
)
def test_other_content_is_different_however_little(other: dict[str, bytes]) -> None:
    assert verdict(PLAIN, pack_files(other)).verdict == Verdict.DIFFERENT


def test_record_alone_can_differ() -> None:
    reordered = {path: content for path, content in SOUND.items() if not path.endswith("RECORD")}
    other = {**reordered, f"{INFO}/RECORD": record(dict(reversed(reordered.items())), INFO)}
    found = verdict(PLAIN, pack_files(other))
    assert found.verdict == Verdict.DIFFERENT
    assert (f"{INFO}/RECORD", "content") in places(found)


# -- the list ----------------------------------------------------------------------------------------------------------


def test_a_text_is_shown_line_by_line_and_what_lies_in_one_only_is_named() -> None:
    found = verdict(
        PLAIN, pack_files(wheel_files({"sample_plugin/__init__.py": SOURCE.replace("'hello'", "'bye'"), "b.py": ""}))
    )
    by_place = {(one.entry, one.field): one for one in found.differences}
    assert by_place["b.py", "file"].one == "not there"
    assert by_place["b.py", "file"].other == "0 bytes"
    diff = by_place["sample_plugin/__init__.py", "content"].diff
    assert "-    return 'hello'" in diff
    assert "+    return 'bye'" in diff
    assert found.differences[-1].entry.endswith("RECORD") or found.differences[-1].field != "content"
    lines = list(found.lines())
    assert "b.py: file: not there / 0 bytes" in lines
    assert "    +    return 'bye'" in lines


def test_of_what_is_no_text_the_first_byte_that_differs_is_named() -> None:
    one, other = b"\0" * 70_000, b"\0" * 69_999 + b"\1"
    found = verdict(pack_files(files(a=one)), pack_files(files(a=other)))
    assert ("a", "content, from byte 69999 on") in places(found)
    shorter = verdict(pack_files(files(a=one)), pack_files(files(a=one[:-1])))
    assert ("a", "content, from byte 69999 on") in places(shorter)


def test_control_characters_are_not_printed() -> None:
    found = verdict(PLAIN, pack_files(wheel_files({"sample_plugin/__init__.py": SOURCE + "\x1b[2J\n"})))
    assert all(line.isprintable() for line in found.lines())
    assert any("\\x1b[2J" in line for line in found.lines())


def test_lists_and_lines_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIFFERENCES", 3)
    many = {f"m{number}.py": "x" * 1000 + str(number) for number in range(5)}
    other = {path: text + "\n" + "y\n" * 50 for path, text in many.items()}
    found = verdict(pack_files(wheel_files(many)), pack_files(wheel_files(other)))
    assert len(found.differences) == 3
    assert found.more == 3, "two files and RECORD"
    assert list(found.lines())[-1] == "and 3 more"
    for difference in found.differences:
        assert len(difference.diff) <= module.MAX_DIFF_LINES + 1
        assert difference.diff[-1] == "…"
        assert all(len(line) <= MAX_DIFF_WIDTH for line in difference.diff)


def test_another_file_name_is_said_and_the_verdict_is_about_the_bytes() -> None:
    found = verdict(PLAIN, PLAIN, "Sample.Plugin-1.0-py3-none-any.whl")
    assert found.verdict == Verdict.BIT_IDENTICAL
    assert places(found) == {("", "file name")}


def test_the_document_holds_all_of_it() -> None:
    document = verdict(PLAIN, HEADERS["mode"][0]).document()
    assert document == {
        "verdict": "bit-identical given the zip header table",
        "differences": [
            {"entry": "sample_plugin/__init__.py", "field": "mode", "one": "100644", "other": "100755", "diff": []}
        ],
        "more": 0,
        "report": [],
    }
