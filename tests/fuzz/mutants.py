"""Inputs that are almost right: a seed with a few edits, as Hypothesis draws them, so that it shrinks what it finds."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.fuzz.targets import MAX_INPUT

TOKENS = (
    b"", b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\n", b"\r\n", b" ", b"\"", b"\\", b"\\ud800",
    b"\xed\xa0\x80", b"\xc2\x9b", b"\xe2\x80\xae", b"{", b"}", b"[", b"[" * 200, b"[" * 3000, b'{"a":' * 100,
    b"null", b"true", b"NaN", b"Infinity", b"-0", b"1e400", b"0.5", b"9" * 30, b"9" * 5000, b"-1",
    b"18446744073709551616", b"sha256:", b"../", b"..", b"/", b"$ORIGIN", b"9999-99-99T99:99:99Z",
    b"0000-01-01T00:00:00Z", b"==", b"=" * 40, b"A" * 300, b"#", b"'''", b"0x", b"inf", b"PK\x03\x04",
    b"PK\x01\x02",
)  # fmt: skip
"""What parsers have stumbled over."""


@st.composite
def mutants(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A seed with up to six edits.

    Args:
        seeds: at least one; a piece of another one may be put in.
    """
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 0, 1, 1, 2, 4, 8, 60, MAX_INPUT))))
        data = (data[:start] + draw(_pieces(seeds)) + data[end:])[:MAX_INPUT]
    return data


@st.composite
def _pieces(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """What is put in: a token, any bytes, or a piece of a seed, once or often."""
    other = draw(st.sampled_from(seeds))
    start = draw(st.integers(0, len(other)))
    copied = other[start : start + draw(st.integers(0, 64))] * draw(st.sampled_from((1, 1, 2, 50)))
    return draw(st.sampled_from(TOKENS) | st.binary(max_size=8) | st.just(copied))
