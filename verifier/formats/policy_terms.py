"""What a trust policy consists of: keys, principals, and the rules of plugins and tiers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from verifier.formats.findings import CheckName, Rating
from verifier.formats.identity import Identity, PersonIdentity, WorkflowIdentity
from verifier.formats.manifest import Capability, HostPattern, Isolation, Maturity
from verifier.formats.strict_json import Document
from verifier.formats.text import PLAIN, Digest, Duration, Name, Sentence, Time, Uri, Version

TierName = Literal["core", "vetted", "untrusted"]
TIERS: tuple[TierName, ...] = ("untrusted", "vetted", "core")
"""From least to most trusted."""
Profile = Literal["production", "demo", "development", "migration"]
Assurance = Literal["snapshot", "installed"]
ASSURANCES: tuple[Assurance, ...] = ("installed", "snapshot")
"""From less to more: how a plugin's files are held against what was attested. Of a wheel that was unpacked by an
installer, each file when it is used; or the whole wheel before anything of it is used."""
Requirement = Literal[
    "provenance", "sbom", "certification", "commit", "embedded-manifest", "vulnerabilities", "test-result", "layout",
]  # fmt: skip


class Key(Document, frozen=True, kw_only=True):
    """A public key with its algorithm pinned: SubjectPublicKeyInfo in DER, as base64."""

    alg: Literal["ecdsa-p256", "ed25519"]
    spki: Annotated[str, Meta(max_length=500)]


class HeadKey(Document, frozen=True, kw_only=True):
    """A key that may sign revocation heads, until ``not_after``."""

    key: Digest
    not_after: Time


Accepted = Annotated[tuple[Digest, ...], Meta(max_length=100_000)]
"""Digests of artifacts."""


class FormerKey(Document, frozen=True, kw_only=True):
    """A key that a principal signed with before: ``retired`` (only ``accepted`` artifacts still count) or ``revoked``
    (nothing counts).
    """

    key: Digest
    status: Literal["retired", "revoked"]
    accepted: Accepted = ()


class TrustedRootRule(Document, frozen=True, kw_only=True):
    """A Sigstore's trusted root: the digest of the target that holds it, and whether timestamps are demanded."""

    digest: Digest
    timestamp: bool = False


class Principal(Document, frozen=True, kw_only=True):
    """Somebody who signs: with a key of ``keys``, or keyless, as an identity that a trusted root vouches for.

    A key-mode signature carries no trustworthy time, so the key has a status instead: ``active``; ``retired`` (only
    ``accepted`` artifact digests still count); ``revoked`` (nothing counts). A keyless one's time is vouched for by a
    log or a timestamp, and ``not_after`` is held against it.
    """

    mode: Literal["key", "keyless"]
    key: Digest | None = None
    root: Name | None = None
    workflow: WorkflowIdentity | None = None
    person: PersonIdentity | None = None
    not_after: Time | None = None
    status: Literal["active", "retired", "revoked"] = "active"
    accepted: Accepted = ()
    former: Annotated[tuple[FormerKey, ...], Meta(max_length=20)] = ()

    @property
    def identity(self) -> Identity | None:
        """Who signs keyless; None in key mode."""
        return self.workflow or self.person

    @property
    def keys(self) -> tuple[Digest, ...]:
        """The keys that it signs with, and signed with before."""
        return (*(() if self.key is None else (self.key,)), *(former.key for former in self.former))

    def standing_of(self, key: Digest | None) -> Principal | FormerKey | None:
        """What tells the status of one of this principal's keys (None: of one without a key); None for another's."""
        if key == self.key:
            return self
        return next((former for former in self.former if former.key == key), None)


class SourceRule(Document, frozen=True, kw_only=True):
    """The repository a plugin has to be built from, as a URL or purl."""

    repository: Annotated[Uri, Meta(min_length=1)]


class LayoutRule(Document, frozen=True, kw_only=True):
    """The in-toto layout that a plugin is made by: the digest of its payload, and which owner signed it."""

    payload: Digest
    owner: Name


class FormerOwner(Document, frozen=True, kw_only=True):
    """Somebody who owned a plugin before: of its manifests, only those of the ``accepted`` artifacts still count."""

    owner: Name
    accepted: Accepted = ()


class PluginRule(Document, frozen=True, kw_only=True):
    """Who may act for one plugin in which role, and what bounds it."""

    builders: tuple[Name, ...] = ()
    rebuilders: tuple[Name, ...] = ()
    owners: tuple[Name, ...] = ()
    certifiers: tuple[Name, ...] = ()
    former_owners: Annotated[tuple[FormerOwner, ...], Meta(max_length=20)] = ()
    min_version: Version | None = None
    source: SourceRule | None = None
    layout: LayoutRule | None = None
    egress: tuple[HostPattern, ...] | None = None
    artifacts: tuple[Digest, ...] | None = None


class CertifierRule(Document, frozen=True, kw_only=True):
    """The highest tier that a certifier may certify for."""

    max_tier: TierName


class TierRule(Document, frozen=True, kw_only=True):
    """What a tier demands and how it isolates.

    ``builders`` is how many distinct principals have to have built the wheel: its builder, and who rebuilt it to the
    same bytes; ``grace`` is how long a list that has expired still serves.

    What follows ``capabilities`` bounds an audit of vulnerabilities and a release checklist, where the tier demands
    them: the worst rating that is admitted (None: nothing), how recent the advisories have to be, which dependencies
    nobody has to know anything of; which checks may be waived, and until how far from now.

    ``assurance`` is the least level that is admitted: without a word, whole wheels alone.
    """

    isolation: Isolation
    require: tuple[Requirement, ...]
    builders: Annotated[int, Meta(ge=1, le=10)] = 1
    disjoint: bool = True
    grace: Duration = Duration("PT0S")
    maturities: tuple[Maturity, ...] = ("alpha", "beta", "stable", "deprecated")
    capabilities: tuple[Capability, ...] | None = None
    max_severity: Rating | None = None
    max_audit_age: Duration | None = None
    not_audited: Literal["refuse", "host-provided", "accept"] = "refuse"
    waivable: tuple[CheckName, ...] = ()
    max_waiver: Duration | None = None
    assurance: Assurance = "snapshot"


Lifted = Literal["certification-expiry", "stale-list"]
"""What a waiver may lift: the end of the artifact's certification, or of the revocation list's life."""


class Waiver(Document, frozen=True, kw_only=True):
    """What two people let pass for one artifact, from ``granted`` until before ``until``."""

    id: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    lifts: Lifted
    artifact: Digest
    granted: Time
    until: Time
    reason: Sentence
    asked_by: Annotated[str, Meta(min_length=1, max_length=200, pattern=PLAIN)]
    approved_by: Annotated[str, Meta(min_length=1, max_length=200, pattern=PLAIN)]
