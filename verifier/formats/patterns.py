"""Patterns that are compiled when something is first held against them: a start meets few of those there are."""

from __future__ import annotations

import re
from functools import cache


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern of that text, which stands in the code: what is untrusted is held against patterns, and is none."""
    return re.compile(pattern)
