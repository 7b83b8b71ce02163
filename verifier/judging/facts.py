"""What verification leads to: the facts of a plugin that may be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from verifier.formats.findings import Rating
from verifier.formats.manifest import SignedManifest
from verifier.formats.policy import Assurance, TierName, Waiver
from verifier.formats.text import Digest, Name, PluginId, Version
from verifier.judging.evidence import Rebuilt
from verifier.revocation.standing_rules import Subject
from verifier.signatures.signatory import Made
from verifier.value import Value
from verifier.wheels.snapshot import Snapshot


class VerifiedPlugin(Value, frozen=True):
    """A plugin that may be loaded, and the facts on which that rests. Made by :func:`verifier.judging.verify.judge`
    alone.

    Attributes:
        plugin_id: the plugin's id.
        version: its version.
        artifact_digest: the wheel's digest.
        tier: the tier it is allowed at.
        snapshot: the wheel's files, as they were verified.
        dependencies: those of its locked dependencies, likewise; none where there is no host.
        manifest: the signed manifest.
        signers: predicate type to the principal whose statement counted.
        made: predicate type to how it was signed: with which key, or at what time by the word of a log.
        statements: predicate type to the sha256 of the payload that counted.
        subject: what standing rules look at.
        rebuilders: who rebuilt the wheel to the same bytes, each with the statement that says so.
        list_seq: the revocation list's sequence number: not revoked as of this.
        list_epoch: the list's epoch.
        list_age: how long before ``verified_at`` the list was issued.
        policy_version: the policy's version.
        verified_at: the moment that was judged at.
        severity: how severe the worst vulnerability is that the audit names; None where it names none.
        warnings: sentences for an operator.
        assurance: how its files are held against what was attested.
        waivers: those of the policy without which it would have been refused.
        api: the API version by which it is called: the policy's, or one that the host adapts.
    """

    unshown = frozenset({"snapshot", "dependencies", "manifest", "subject"})

    plugin_id: PluginId
    version: Version
    artifact_digest: Digest
    tier: TierName
    snapshot: Snapshot
    dependencies: tuple[Snapshot, ...]
    manifest: SignedManifest
    signers: Mapping[str, Name]
    made: Mapping[str, Made]
    statements: Mapping[str, Digest]
    subject: Subject
    list_seq: int
    list_epoch: int
    list_age: timedelta
    policy_version: int
    verified_at: datetime
    severity: Rating | None = None
    warnings: tuple[str, ...] = ()
    rebuilders: Mapping[Name, Rebuilt] = MappingProxyType({})
    assurance: Assurance = "snapshot"
    api: Version | None = None
    waivers: tuple[Waiver, ...] = ()
