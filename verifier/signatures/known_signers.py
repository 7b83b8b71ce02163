"""Which of the policy's keys have signed an envelope, and how that is known again without verifying it.

Whether a signature verifies follows from the signed bytes, the key and the code: not from the time, nor from what a
host has seen, both of which are judged each time. So it is kept in a private cache under exactly these, and a start
that finds it there imports nothing of ``cryptography``. Only what was found to be signed is kept.

``docs/adr/0008-code-cache.md`` says what makes a cache safe to use, ``0039`` why this may be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Final

from verifier.formats.dsse import Envelope, dump_envelope
from verifier.formats.policy import Key, Policy
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest
from verifier.private_cache import PrivateCache
from verifier.this_code import this_code

SignedBy = Callable[[Envelope, Mapping[Digest, Key]], Collection[Digest]]
"""Which of these keys, by their id, have signed an envelope; none of any other."""

_KIND: Final = "signers"


def signed_by(envelope: Envelope, keys: Mapping[Digest, Key]) -> list[Digest]:
    """Which of these keys have signed an envelope: each is tried, and what does not verify does not count.

    Raises:
        Refused: ``trust.policy`` or ``usage.key`` for a key that is not what the policy says.
    """
    from verifier.signatures.keys import PublicKey, signers  # cryptography: who knows does not wait for it

    return [key.id for key in signers(envelope, map(PublicKey.from_policy, keys.values()))]


def check_keys(policy: Policy) -> None:
    """Demand that each key by which somebody may sign is what the policy says.

    Raises:
        Refused: ``trust.policy`` or ``usage.key``.
    """
    from verifier.signatures.keys import PublicKey  # as above

    for key in [head.key for head in policy.head_keys] + [
        key for principal in policy.principals.values() for key in principal.keys
    ]:
        PublicKey.from_policy(policy.keys[key])


class KnownSigners:
    """:func:`signed_by`, asked once for the same envelope and keys. Safe between threads, processes and forks; never
    raises when the cache fails.

    Args:
        cache: where it is kept.
    """

    def __init__(self, cache: PrivateCache) -> None:
        self._cache = cache

    def __call__(self, envelope: Envelope, keys: Mapping[Digest, Key]) -> list[Digest]:
        """Which of these keys have signed the envelope; raises as :func:`signed_by`."""
        parts = (this_code(), hashlib.sha256(dump_envelope(envelope)).digest(), dumps(keys))
        value = self._cache.load(_KIND, *parts)
        if value is not None:
            return [Digest(key) for key in value.decode().split()]
        found = signed_by(envelope, keys)
        if found:
            self._cache.store(" ".join(found).encode(), _KIND, *parts)
        return found
