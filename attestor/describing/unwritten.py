"""What a drafted manifest leaves to its owner, and that nothing of it is left when somebody signs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from verifier.errors import Refused

UNWRITTEN = "TO BE WRITTEN"
"""What stands where the owner has to write."""


def refuse_unwritten(value: Any, what: str) -> None:
    """Demand that an owner has written everything that a draft left open.

    Args:
        value: a manifest as plain values.
        what: its name, for the error.

    Raises:
        Refused: ``manifest.draft``, with the first places.
    """
    left = list(unwritten(value))
    if left:
        raise Refused(
            "manifest.draft", f"{what} is a draft", found=", ".join(left[:5]), expected="the owner's own words there"
        )


def unwritten(value: Any, place: str = "") -> Iterator[str]:
    """Where a manifest is still to be written."""
    if isinstance(value, str) and UNWRITTEN in value:
        yield place or "the whole"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from unwritten(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from unwritten(inner, f"{place}[{index}]")
