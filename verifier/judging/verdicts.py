"""What follows from an attestation set, its wheel and the policy alone, remembered between processes.

Which statements count, and that they, the wheel's facts and the policy agree with each other, depends on the set's
bytes, the artifact, the wheel's file name, whether the wheel or an installed copy is looked at, the policy, the trusted
roots and this code: on neither the time, nor the revocation list, nor what the host asks, nor what it has. All of that
is what an entry is kept under, so that whatever changes is another entry, and an old one put back says what is still
true. Only of what was let in it is kept.
Everything else is judged anew each time: trust, list, rules, expiries, dependencies, the decision.

``docs/adr/0008-code-cache.md`` says what makes a cache safe to use, ``0029`` and ``0040`` what is kept here, and what
is not.
"""

from __future__ import annotations

import hashlib
import marshal
from datetime import datetime
from typing import Any, Final

from verifier.formats.policy import Assurance, TierName
from verifier.formats.sbom import Component
from verifier.formats.statement import MANIFEST, TEST_RESULT, VULNERABILITIES, Statement
from verifier.formats.strict_json import Common
from verifier.formats.text import Digest, Hex, Name, PluginId, Time
from verifier.judging.evidence import Attested, Evidence, KeyRing, SetAside
from verifier.private_cache import PrivateCache
from verifier.shelves import Shelf
from verifier.signatures.identities import LIBRARIES
from verifier.signatures.signatory import Made
from verifier.this_code import this_code
from verifier.value import Value

READ_AGAIN: Final = frozenset({MANIFEST, VULNERABILITIES, TEST_RESULT})
"""The predicates that are kept: whether what they say holds depends on more than what an entry is kept under."""

_KIND: Final = "settled"


class Settled(Value, frozen=True):
    """What an attestation set, its wheel and the policy settle by themselves.

    Attributes:
        plugin_id: the plugin's id, which the wheel's file name and the manifest agree on.
        evidence: the statements that count; of one that was kept, with the predicates of :data:`READ_AGAIN` alone.
        components: what the SBOM lists.
        tier: the tier that is claimed, and backed by all that does not end by itself.
        certified_until: the end of the certification; None where there is none.
    """

    plugin_id: PluginId
    evidence: Evidence
    components: tuple[Component, ...]
    tier: TierName
    certified_until: Time | None


class Entry:
    """What is kept of one set, for one wheel under one policy. Made by :meth:`Verdicts.entry`.

    Attributes:
        known: what it settled before; None if that is not known, or it was refused.
    """

    def __init__(self, shelf: Shelf, parts: tuple[bytes, ...]) -> None:
        self._shelf, self._parts = shelf, parts
        value = shelf.load(*parts)
        self.known = None if value is None else _settled(marshal.loads(value))  # noqa: S302 - authenticated by the shelf

    def keep(self, settled: Settled) -> None:
        """Keep what was settled; of what was let in alone."""
        self._shelf.store(marshal.dumps(_plain_of(settled)), *self._parts)


class Verdicts:
    """What was settled, in a private cache: on one shelf for each policy. Safe between threads, processes and forks;
    never raises when it fails.

    Args:
        kept: where it is kept.
    """

    def __init__(self, kept: PrivateCache) -> None:
        self._cache = kept
        self._shelf: tuple[tuple[bytes, ...], Shelf] | None = None

    def entry(
        self, attestations: bytes, artifact: Digest, file_name: str, assurance: Assurance, ring: KeyRing
    ) -> Entry:
        """What is kept of exactly this.

        Args:
            attestations: the set.
            artifact: the wheel's digest.
            file_name: the wheel's file name, from which the policy's rule follows.
            assurance: how its files are held against what was attested: an installed copy says nothing of its wheel.
            ring: who signs for the policy's principals.
        """
        texts = artifact.encode(), file_name.encode("utf-8", "surrogatepass"), assurance.encode()
        parts = (hashlib.sha256(attestations).digest(), *texts)
        return Entry(self._shelf_of(ring), parts)

    def _shelf_of(self, ring: KeyRing) -> Shelf:
        parts = (ring.digest, this_code(*(LIBRARIES if ring.is_keyless else ())))
        found = self._shelf  # looked at once: another thread may exchange it meanwhile
        if found is None or found[0] != parts:
            self._shelf = found = parts, Shelf(self._cache, _KIND, *parts)
        return found[1]


def _settled(plain: tuple[Any, ...]) -> Settled:
    plugin_id, attested, aside, ignored, rebuilds, components, tier, until = plain
    evidence = Evidence(
        {kind: _attested(found) for kind, found in attested},
        tuple(SetAside(*found) for found in aside),
        tuple(ignored),
        {Name.again(name): _attested(found) for name, found in rebuilds},
    )
    listed = tuple(Component(*found) for found in components)
    return Settled(PluginId.again(plugin_id), evidence, listed, tier, None if until is None else Time.again(until))


def _plain_of(settled: Settled) -> tuple[Any, ...]:
    """The same as values that ``marshal`` knows."""
    evidence, until = settled.evidence, settled.certified_until
    return (
        str(settled.plugin_id),
        [(str(kind), _plain(found)) for kind, found in evidence.attested.items()],
        [tuple(map(str, aside)) for aside in evidence.set_aside],
        list(map(str, evidence.ignored)),
        [(str(name), _plain(found)) for name, found in evidence.rebuilds.items()],
        [(found.name, found.version, found.purl) for found in settled.components],
        str(settled.tier),
        None if until is None else str(until),
    )


def _plain(found: Attested) -> tuple[Any, ...]:
    said, made = found.statement, found.made
    at = None if made.at is None else made.at.isoformat()
    key = None if made.key is None else str(made.key)
    predicate = said.predicate if said.predicate_type in READ_AGAIN else b""
    spelled = isinstance(predicate, Common)
    statement = (str(said.subject_name), str(said.sha256), str(said.predicate_type), bytes(predicate), spelled)
    return statement, str(found.signer), str(found.payload_digest), key, at


def _attested(plain: tuple[Any, ...]) -> Attested:
    (subject, sha256, kind, predicate, spelled), signer, digest, key, at = plain
    said = Common(predicate) if spelled else predicate
    statement = Statement(subject_name=subject, sha256=Hex.again(sha256), predicate_type=kind, predicate=said)
    made = Made(None if key is None else Digest.again(key), None if at is None else datetime.fromisoformat(at))
    return Attested(statement, Name.again(signer), Digest.again(digest), made)
