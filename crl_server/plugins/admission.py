"""Admission: the server verifies a plugin exactly as a host would, on its own published trust and list."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from crl_server.plugins import registry
from crl_server.records.audit import Act
from crl_server.revocation import standing
from crl_server.storage.idempotency import fingerprint
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Artifact
from verifier.deployment.trust import Trust
from verifier.errors import Refused
from verifier.formats.bundle import parse_set
from verifier.formats.enrolment import Floor
from verifier.formats.policy import Policy
from verifier.formats.sbom import Component, parse_sbom
from verifier.formats.statement import MANIFEST, SBOM, parse_statement
from verifier.formats.strict_json import Document, dumps
from verifier.formats.text import Digest, Hex, Time
from verifier.judging import decide
from verifier.judging.supply_chain import Expected, Fulfilled, verify_chain
from verifier.judging.verify import Ground, VerifiedPlugin, verify
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.rulebook import check_rules
from verifier.signatures.keys import PublicKey

_NOT_ASKED = "links were handed in, and the policy names no layout: they were not looked at"


@dataclass(frozen=True)
class Upload:
    """What a publisher hands in: the wheel, which is judged and not kept, and its attestation set, which is.

    Attributes:
        chain: the plugin's in-toto layout and links, where the policy names a layout; empty for none.
    """

    file_name: str
    wheel: bytes
    attestations: bytes
    chain: bytes = b""

    @property
    def fingerprint(self) -> Hex:
        """What tells this upload from another."""
        return fingerprint(b"admit", self.file_name.encode(), self.wheel, self.attestations, self.chain)


class Admission(Document, frozen=True, kw_only=True):
    """What an admission led to."""

    digest: Digest
    plugin_id: str
    version: str
    tier: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Admitted:
    """A plugin that passed, with what the registry keeps of its statements.

    Attributes:
        plugin: the facts.
        manifest: the signed manifest's exact bytes.
        components: what the SBOM lists.
        layout: the layout that it was made by, where the policy names one.
        ignored: whether links were handed in that nobody asked for.
    """

    plugin: VerifiedPlugin
    manifest: bytes
    components: tuple[Component, ...]
    layout: Fulfilled | None = None
    ignored: bool = False

    @property
    def outcome(self) -> Admission:
        """What the publisher is told."""
        plugin = self.plugin
        return Admission(
            digest=plugin.artifact_digest,
            plugin_id=plugin.plugin_id,
            version=plugin.version,
            tier=plugin.tier,
            warnings=(*plugin.warnings, *((_NOT_ASKED,) if self.ignored else ())),
        )


def judge(upload: Upload, trust: Trust, revocations: RevocationList, now: datetime) -> Admitted:
    """Demand that a plugin verifies under the deployment's policy.

    Args:
        upload: what was handed in.
        trust: the deployment's verified trust.
        revocations: the published list.
        now: the moment (aware, UTC).

    Raises:
        Refused: with the code and the step of the first check that said no; a ``layout.*`` code.
        UsageError: ``usage.extra``.
    """
    head = revocations.head
    floor = Floor(root=trust.root_version, targets=trust.targets_version, epoch=head.epoch, seq=head.seq)
    ground = Ground(trust.policy.deployment, floor, trust, revocations, head.issued)
    plugin = verify(upload.wheel, upload.file_name, upload.attestations, ground, now, decide.ADMISSION)
    statements = _predicates(upload.attestations, plugin)
    layout = _layout(upload, plugin, trust.policy, now)
    ignored = layout is None and upload.chain != b""
    return Admitted(plugin, statements[MANIFEST], parse_sbom(statements[SBOM]).components, layout, ignored)


def _layout(upload: Upload, plugin: VerifiedPlugin, policy: Policy, now: datetime) -> Fulfilled | None:
    """The plugin's layout, fulfilled by the links handed in; None where the policy names none."""
    rule = policy.plugins[plugin.plugin_id].layout
    if rule is None:
        return None
    owner = policy.principals[rule.owner]
    if owner.key is None or owner.status != "active":
        raise Refused("signature.key-revoked", "the layout's owner has no active key", found=f"{rule.owner!r}")
    if not upload.chain:
        raise Refused("layout.missing", "the policy names a layout for this plugin", expected=str(rule.payload))
    expected = Expected([PublicKey.from_policy(policy.keys[owner.key])], rule.payload)
    return verify_chain(upload.chain, expected, upload.file_name, plugin.artifact_digest, now)


def keep(ledger: Ledger, upload: Upload, admitted: Admitted, actor: str, now: datetime) -> None:
    """Put a plugin that passed into the registry and the audit log.

    Raises:
        Refused: ``revoked.artifact`` or ``rule.*`` when it has been revoked since it was judged.
    """
    plugin = admitted.plugin
    if ledger.listed(plugin.artifact_digest) is not None:
        raise Refused("revoked.artifact", "the artifact is revoked", found=plugin.artifact_digest)
    check_rules(standing.in_force(ledger), plugin.subject)
    manifest_digest = f"sha256:{hashlib.sha256(admitted.manifest).hexdigest()}"
    signers = {kind: str(name) for kind, name in sorted(plugin.signers.items())}
    row = Artifact(
        digest=plugin.artifact_digest,
        file_name=upload.file_name,
        plugin_id=plugin.plugin_id,
        version=plugin.version,
        tier=plugin.tier,
        manifest_digest=manifest_digest,
        manifest=admitted.manifest,
        attestations=upload.attestations,
        record=plugin.snapshot.files[f"{plugin.snapshot.dist_info}/RECORD"],
        subject=dumps(plugin.subject),
        signers=dumps(signers).decode(),
        policy_version=plugin.policy_version,
        admitted_at=Time.of(now),
        admitted_by=actor,
    )
    registry.keep(ledger, row, admitted.components)
    detail: dict[str, object] = {
        "plugin": str(plugin.plugin_id), "version": str(plugin.version), "tier": plugin.tier,
        "manifest": manifest_digest, "set": f"sha256:{hashlib.sha256(upload.attestations).hexdigest()}",
        "policy": plugin.policy_version, "signers": signers, "rebuilders": sorted(map(str, plugin.rebuilders)),
    }  # fmt: skip
    if admitted.layout is not None:
        chain = hashlib.sha256(upload.chain).hexdigest()
        detail |= {"layout": str(admitted.layout.payload), "links": f"sha256:{chain}"}
    ledger.record(Act(actor, "artifact.admit", plugin.artifact_digest, detail), now)


def _predicates(attestations: bytes, plugin: VerifiedPlugin) -> dict[str, bytes]:
    """The predicates on which the verdict rests, found by the digests of the payloads that were verified."""
    payloads = (bundle.envelope.unverified_payload for bundle in parse_set(attestations))
    by_digest = {f"sha256:{hashlib.sha256(payload).hexdigest()}": payload for payload in payloads}
    found = {kind: parse_statement(by_digest[digest]).predicate for kind, digest in plugin.statements.items()}
    for kind in (MANIFEST, SBOM):
        if kind not in found:
            raise Refused("set.statement-missing", "the attestation set lacks a statement", expected=kind)
    return found
