"""A handover: what two keys sign when one takes the place of the other; whoever writes the policy need not guess.

Either a principal's new key follows the old one, or a plugin passes from one owner to another. The envelope carries two
signatures, by the key that gives and by the key that takes; nothing in it changes anything before a policy does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from verifier.formats.policy import Key
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Digest, Name, PluginId, Time

MAX_HANDOVER = 16 * 1024
"""Size cap of a handover's payload in bytes."""
LONGEST = timedelta(days=14)
"""The longest time between ``issued`` and ``expires``."""


class Handover(Document, frozen=True, kw_only=True):
    """Who gives what to whom; see ``docs/spec/handover.md``.

    Without ``plugin`` a principal gives itself a new key, and ``giver`` is ``taker``.
    """

    v: Literal[1]
    deployment: Name
    giver: Name
    taker: Name
    old: Digest
    new: Key
    issued: Time
    expires: Time
    plugin: PluginId | None = None

    def __post_init__(self) -> None:
        if (self.plugin is None) != (self.giver == self.taker):
            raise ValueError("a key passes within one principal, a plugin from one principal to another")
        if not timedelta(0) < self.expires.instant - self.issued.instant <= LONGEST:
            raise ValueError(f"expires: expected at most {LONGEST.days} days after 'issued'")


def parse_handover(payload: bytes) -> Handover:
    """Read a handover's payload.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return parse(payload, Handover, limit=MAX_HANDOVER, what="handover")


def dump_handover(handover: Handover) -> bytes:
    """Write a handover's payload; the inverse of :func:`parse_handover`."""
    return dumps(handover)
