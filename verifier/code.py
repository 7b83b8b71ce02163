"""What is known of one error code."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """One code: the verification step (0 to 12, or None), its meaning, and the default advice."""

    step: int | None
    meaning: str
    todo: str
