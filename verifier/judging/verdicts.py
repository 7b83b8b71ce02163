"""Which statements of an attestation set count, remembered between processes: the verdict that takes the longest.

What weighing a set leads to depends on the set's bytes, the artifact, the wheel's file name, the policy, the trusted
roots and this code: on neither the time, nor the revocation list, nor what the host asks. All of that is what an entry
is kept under, so that whatever changes is another entry, and an old one put back says what is still true. Only what was
accepted is kept. Everything else is judged anew each time: trust, list, rules, expiries, the decision.

``docs/adr/0008-code-cache.md`` says what makes a cache safe to use, ``0029`` what is kept here, and what is not.
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final

from verifier.formats.statement import Statement
from verifier.formats.text import Digest, Hex, Name
from verifier.judging.evidence import Attested, Evidence, KeyRing, SetAside
from verifier.private_cache import PrivateCache
from verifier.signatures.signatory import Made
from verifier.this_code import this_code

_KIND: Final = "verdict"


class Verdicts:
    """What weighing sets led to, in a private cache. Safe between threads, processes and forks; never raises when it
    fails.

    Args:
        kept: where it is kept.
    """

    def __init__(self, kept: PrivateCache) -> None:
        self._cache = kept

    def recall(self, attestations: bytes, artifact: Digest, file_name: str, ring: KeyRing) -> Evidence | None:
        """What weighing exactly this led to before; None if it was not weighed, or refused.

        Args:
            attestations: the set.
            artifact: the wheel's digest.
            file_name: the wheel's file name, from which the policy's rule follows.
            ring: who signs for the policy's principals.
        """
        value = self._cache.load(_KIND, *_parts(attestations, artifact, file_name, ring))
        if value is None:
            return None
        attested, aside, ignored, rebuilds = marshal.loads(value)  # noqa: S302 - authenticated by the line above
        return Evidence(
            {kind: _attested(plain) for kind, plain in attested},
            tuple(SetAside(*plain) for plain in aside),
            tuple(ignored),
            {Name(name): _attested(plain) for name, plain in rebuilds},
        )

    def remember(
        self, evidence: Evidence, attestations: bytes, artifact: Digest, file_name: str, ring: KeyRing
    ) -> None:
        """Keep what weighing led to; the arguments are those of :meth:`recall`."""
        value = (
            _plain_of(evidence.attested),
            [tuple(map(str, aside)) for aside in evidence.set_aside],
            list(map(str, evidence.ignored)),
            _plain_of(evidence.rebuilds),
        )
        self._cache.store(marshal.dumps(value), _KIND, *_parts(attestations, artifact, file_name, ring))


def _plain_of(attested: Mapping[Any, Attested]) -> list[tuple[str, tuple[Any, ...]]]:
    return [(str(key), _plain(found)) for key, found in attested.items()]


def _plain(found: Attested) -> tuple[Any, ...]:
    """A statement that counts as values that ``marshal`` knows."""
    said, made = found.statement, found.made
    at = None if made.at is None else made.at.isoformat()
    key = None if made.key is None else str(made.key)
    statement = (str(said.subject_name), str(said.sha256), str(said.predicate_type), said.predicate)
    return statement, str(found.signer), str(found.payload_digest), key, at


def _attested(plain: tuple[Any, ...]) -> Attested:
    (subject, sha256, kind, predicate), signer, digest, key, at = plain
    statement = Statement(subject_name=subject, sha256=Hex(sha256), predicate_type=kind, predicate=predicate)
    made = Made(None if key is None else Digest(key), None if at is None else datetime.fromisoformat(at))
    return Attested(statement, Name(signer), Digest(digest), made)


def _parts(attestations: bytes, artifact: Digest, file_name: str, ring: KeyRing) -> tuple[bytes, ...]:
    texts = (str(artifact), file_name, _of_sigstore() if ring.is_keyless else "")
    return (
        hashlib.sha256(attestations).digest(),
        ring.digest,
        this_code(),
        *(text.encode("utf-8", "surrogatepass") for text in texts),
    )


@cache
def _of_sigstore() -> str:
    import importlib.metadata

    return importlib.metadata.version("sigstore")
