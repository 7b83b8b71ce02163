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

    def pass_by(self, facts: VerifiedPlugin, revocations: RevocationList) -> VerifiedPlugin:
        """Raise the mark to a plugin that is let in; one below it comes back with one more warning.

        The mark that a revoked release has left is no reason to warn: going back behind it is what should be done.

        Args:
            facts: of the plugin.
            revocations: the list in force.
        """
        if self._cache is None:
            return facts
        known = self._known(self._cache, facts)
        if known is None or known[0].order < facts.version.order:
            mark = f"{facts.version} {facts.artifact_digest}".encode()
            self._cache.store(mark, _KIND, self._deployment, facts.plugin_id.encode())
            return facts
        version, digest = known
        if version.order == facts.version.order or _is_listed(revocations, digest):
            return facts
        warning = f"a downgrade: this host has let in {version} of the plugin before, which is not revoked"
        logger.warning("%s %s is %s", facts.plugin_id, facts.version, warning)
        return replace(facts, warnings=(*facts.warnings, warning))

    def _known(self, cache: PrivateCache, facts: VerifiedPlugin) -> tuple[Version, Digest] | None:
        mark = cache.load(_KIND, self._deployment, facts.plugin_id.encode())
        if mark is None:
            return None
        version, _, digest = mark.decode().partition(" ")
        return Version(version), Digest(digest)


def _is_listed(revocations: RevocationList, digest: Digest) -> bool:
    try:
        check_not_listed(revocations, digest)
    except Refused:
        return True
    return False
