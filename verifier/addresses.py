"""Addresses that others wrote, taken apart without a surprise."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

NOWHERE = SplitResult("", "", "", "", "")
"""What is no address: without a scheme and a host, which nobody accepts."""


def split(address: str) -> SplitResult:
    """Take an address apart (RFC 3986); what is none, or names no possible port, is :data:`NOWHERE`.

    ``urlsplit`` raises ``ValueError`` for some of what is malformed, and its ``port`` for more of it, later.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return NOWHERE
    return parts
