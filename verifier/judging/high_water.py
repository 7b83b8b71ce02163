"""The newest release of each plugin that this host has let in: going back behind it is worth a warning, and never more.

A lower version may be what an attacker wants, or what a person decided on; the signed ``min_version`` tells the two
apart. The mark is kept in the private cache of hosts that have one. It is a memory and no defence: without a cache, or
with one that somebody emptied, nothing is remembered.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from verifier.errors import Refused
from verifier.formats.text import Digest, Version
from verifier.judging.judgements import check_not_listed
from verifier.judging.verify import VerifiedPlugin
from verifier.private_cache import PrivateCache
from verifier.revocation.revocation_list import RevocationList
from verifier.shelves import Shelf

logger = logging.getLogger(__name__)

_KIND = "high-water"


class HighWater:
    """Marks, one for each plugin of a deployment.

    Args:
        cache: where they are kept; None for nowhere.
        deployment: whose hosts the marks are of.
    """

    def __init__(self, cache: PrivateCache | None, deployment: str) -> None:
        self._cache = cache
        self._deployment = deployment.encode()
        self._marks: Shelf | None = None

    def pass_by(self, facts: VerifiedPlugin, revocations: RevocationList) -> VerifiedPlugin:
        """Raise the mark to a plugin that is let in; one below it comes back with one more warning.

        The mark that a revoked release has left is no reason to warn: going back behind it is what should be done.

        Args:
            facts: of the plugin.
            revocations: the list in force.
        """
        if self._cache is None:
            return facts
        name, mark = facts.plugin_id.encode(), f"{facts.version} {facts.artifact_digest}".encode()
        if self._marks is not None and _in(self._marks, name) == mark:
            return facts
        self._marks = Shelf(self._cache, _KIND, self._deployment)  # another process may have raised it meanwhile
        version, _, digest = _in(self._marks, name).decode().partition(" ")
        if version == facts.version:
            return facts
        if not version or Version(version).order < facts.version.order:
            self._marks.store(mark, name)
            return facts
        if Version(version).order == facts.version.order or _is_listed(revocations, Digest(digest)):
            return facts
        warning = f"a downgrade: this host has let in {version} of the plugin before, which is not revoked"
        logger.warning("%s %s is %s", facts.plugin_id, facts.version, warning)
        return replace(facts, warnings=(*facts.warnings, warning))


def _in(marks: Shelf, name: bytes) -> bytes:
    """The mark of a plugin; empty if there is none that is authentic."""
    found = marks.load(name)
    return b"" if found is None else bytes(found)


def _is_listed(revocations: RevocationList, digest: Digest) -> bool:
    try:
        check_not_listed(revocations, digest)
    except Refused:
        return True
    return False
