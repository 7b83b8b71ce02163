"""What libraries say they need: read from both widths and both byte orders, and refused when malformed."""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.importing.elf_files import shared_library
from verifier.errors import Refused
from verifier.importing.elf import MAX_SEGMENTS, Dynamic, read_dynamic, read_used

SAMPLE = shared_library(soname="liba.so.1", needed=["libb.so", "libc.so.6"], rpath="$ORIGIN")


def refused(content: bytes, read: Callable[[bytes, str], object] = read_dynamic) -> None:
    with pytest.raises(Refused) as refusal:
        read(content, "sample_plugin/fast.so")
    assert refusal.value.code == "wheel.unsupported"
    assert "sample_plugin/fast.so" in refusal.value.what


def changed(at: int, value: bytes) -> bytes:
    return SAMPLE[:at] + value + SAMPLE[at + len(value) :]


MALFORMED = {
    "empty": b"",
    "of another format": b"MZ" + SAMPLE[2:],
    "its magic alone": SAMPLE[:4],
    "of a width that does not exist": changed(4, b"\x03"),
    "of a byte order that does not exist": changed(5, b"\x00"),
    "cut in its header": SAMPLE[:40],
    "cut in its segments": SAMPLE[:70],
    "too many segments": shared_library(bits=64, order="<")[:56]
    + struct.pack("<H", MAX_SEGMENTS + 1)
    + shared_library(bits=64, order="<")[58:],
    "its string table lies nowhere": shared_library(soname="x", bits=64, order="<").replace(
        struct.pack("<QQ", 5, 240), struct.pack("<QQ", 5, 1 << 60)
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case: str) -> None:
    refused(MALFORMED[case])


def test_every_truncation_is_refused_or_read() -> None:
    whole = read_dynamic(SAMPLE, "x.so")
    for length in range(len(SAMPLE)):
        try:
            found = read_dynamic(SAMPLE[:length], "x.so")
        except Refused as refusal:
            assert refusal.code == "wheel.unsupported"
        else:
            assert found == whole


@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_read(place: int, change: int) -> None:
    content = bytearray(SAMPLE)
    content[place] ^= change
    try:
        read_dynamic(bytes(content), "x.so")
    except Refused as refusal:
        assert refusal.code == "wheel.unsupported"


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind(bits: int, order: str) -> None:
    content = shared_library(
        soname="liba.so.1", needed=["libb.so", "libc.so.6"], rpath="$ORIGIN/../x.libs:$ORIGIN", bits=bits, order=order
    )
    assert read_dynamic(content, "x.so") == Dynamic(
        soname="liba.so.1",
        needed=("libb.so", "libc.so.6"),
        search=("$ORIGIN/../x.libs", "$ORIGIN"),
        searched_first=True,
    )


def test_the_newer_tag_hides_the_older() -> None:
    content = shared_library(rpath="$ORIGIN/a", runpath="$ORIGIN/b")
    assert read_dynamic(content, "x.so") == Dynamic("", (), ("$ORIGIN/b",), searched_first=False)


def test_nothing_named() -> None:
    assert read_dynamic(shared_library(), "x.so") == Dynamic("", (), (), searched_first=True)


def test_a_real_library() -> None:
    spec = importlib.util.find_spec("rpds.rpds")
    assert spec is not None
    assert spec.origin is not None
    found = read_dynamic(Path(spec.origin).read_bytes(), "rpds.so")
    assert any(name.startswith(("libc.", "ld-")) for name in found.needed), sys.platform


@pytest.mark.parametrize("case", [case for case in MALFORMED if "string" not in case])
def test_malformed_headers_say_nothing_of_what_is_used(case: str) -> None:
    refused(MALFORMED[case], read_used)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_used_are_the_headers_and_what_they_point_to(bits: int, order: str) -> None:
    content = shared_library(soname="liba.so.1", bits=bits, order=order)
    unused = content + b"symbols that no loader maps"
    own, table = (64, 3 * 56) if bits == 64 else (52, 3 * 32)
    spans = read_used(unused, "x.so")
    assert spans[:3] == ((0, own), (own, table), (0, len(content)))
    [(dynamic_at, length)] = spans[3:]  # what takes no room in the file, such as the stack, is not among them
    assert dynamic_at + length == len(content)


def test_segments_are_described_wherever_their_headers_lie() -> None:
    """A tool that changes libraries after they were linked puts the headers at the end."""
    content = shared_library(soname="x", bits=64, order="<")
    moved = content[:32] + struct.pack("<Q", len(content)) + content[40:] + content[64 : 64 + 3 * 56]
    assert read_used(moved, "x.so")[1] == (len(content), 3 * 56)
    assert read_used(moved, "x.so")[2:] == read_used(content, "x.so")[2:]
