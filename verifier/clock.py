"""What tells the time: passed down to whoever needs it, so that tests and hosts can move it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Tells the time, aware and in UTC."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)
