"""Artifacts, rules and checkpoints of a real deployment, without building a wheel for each."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from crl_server.lists.countersigning import Summary, review, sign
from crl_server.lists.dossier import Dossier
from crl_server.plugins import registry
from crl_server.revocation import standing
from crl_server.revocation.reinstating import Wish
from crl_server.revocation.standing import NewRule, RuleAdded
from crl_server.service import Authority
from crl_server.storage.tables import Artifact
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, NOW, digest
from verifier.errors import Refused
from verifier.formats.revocations import sha256_hex
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest, Hex, Name, PluginId, Time, Version
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind, apply_head
from verifier.revocation.rulebook import check_rules
from verifier.revocation.standing_rules import Part, Subject

ALICE, BOB = "token:alice", "token:bob"
KEYS = ("checkpoint-1.pem", "checkpoint-2.pem")


def subject(label: object, signer: str = "team-a", plugin: str = "csv_exporter", version: str = "1.0") -> Subject:
    """What rules look at in an artifact that ``signer`` has signed and that brings requests along."""
    return Subject(
        artifact=digest(label),
        plugin_id=PluginId(plugin),
        version=Version(version),
        signers=(Name(signer),),
        keys=(),
        statements=(),
        builder="https://ci.example/builder",
        repository="https://git.example/acme",
        parts=(Part(purl="pkg:pypi/requests@2.31.0", name="requests", version="2.31.0"),),
    )


DECLARED = {
    "description": "writes rows as CSV", "owner": "team-a", "kind": "exporter", "maturity": "stable",
    "capabilities": [{"name": "file-write", "rationale": "it writes files"}], "hooks": ["rows.written"],
}  # fmt: skip
"""What the registry's cards take from a manifest."""


def admit(authority: Authority, known: Subject, now: datetime = NOW, **declared: object) -> None:
    """Put an artifact into the registry as admission does in its last step, when its wheel has been verified.

    Raises:
        Refused: as :func:`crl_server.plugins.admission.keep`.
    """
    with authority.store.write() as ledger:
        if ledger.listed(known.artifact) is not None:
            raise Refused("revoked.artifact", "the artifact is revoked")
        check_rules(standing.in_force(ledger), known)
        row = Artifact(
            digest=known.artifact, file_name="x.whl", plugin_id=known.plugin_id, version=known.version, tier="core",
            manifest_digest=digest("manifest"), manifest=dumps(DECLARED | declared), attestations=b"",
            subject=dumps(known), signers="{}", policy_version=1, admitted_at=Time.of(now), admitted_by=ACTOR,
        )  # fmt: skip
        registry.keep(ledger, row, ())


def add_rule(
    authority: Authority, signer: str = "team-a", *excepted: object, now: datetime = NOW, actor: str = ACTOR
) -> RuleAdded:
    """Deny whatever a principal has signed."""
    wanted = NewRule("signer", {"principal": signer}, "key-compromise", "", tuple(digest(label) for label in excepted))
    return authority.add_rule(wanted, actor, now)


def root_of(authority: Authority) -> Digest:
    """The fingerprint of the first root."""
    return Digest(f"sha256:{sha256_hex(authority.repository.root(1))}")


def reinstate(authority: Authority, label: object | None, rule: int | None = None) -> int:
    """Ask as Alice, approve as Bob."""
    wish = Wish(None if label is None else digest(label), rule, "it was a mistake")
    number = authority.request_reinstatement(wish, ALICE, NOW).id
    authority.approve_reinstatement(number, BOB, NOW)
    return number


def prepared(authority: Authority, directory: Path, now: datetime = NOW, *, cut: bool = False) -> Dossier:
    """Lay the next checkpoint out."""
    authority.prepare_checkpoint(directory, ACTOR, now, cut=cut)
    return Dossier(directory)


def sign_twice(authority: Authority, dossier: Dossier, now: datetime = NOW) -> Summary:
    """Review a dossier, and sign it with both keys."""
    summary = review(dossier, root_of(authority), now)
    for name in KEYS:
        sign(dossier, SigningKey.read(authority.layout.offline / name))
    return summary


def checkpoint(authority: Authority, directory: Path, now: datetime = NOW, *, cut: bool = False) -> Summary:
    """Prepare, sign and publish the next checkpoint."""
    dossier = prepared(authority, directory, now, cut=cut)
    summary = sign_twice(authority, dossier, now)
    authority.publish_checkpoint(dossier, ACTOR, now)
    return summary


class Reader:
    """A host that reads the static tree, and holds each list against the one before."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.current: RevocationList | None = None

    def refresh(self, now: datetime = NOW) -> RevocationList:
        """Take what is published.

        Raises:
            Refused: as :func:`apply_head`.
        """
        lists = self.authority.layout.public / "lists"

        def files(kind: FileKind, name: Hex) -> bytes:
            return (lists / kind / name).read_bytes()

        trust = self.authority.repository.trust()
        self.current = apply_head(self.current, (lists / "head.json").read_bytes(), files, trust, now)
        return self.current

    def denies(self, known: Subject) -> bool:
        """Whether this host would not load the artifact."""
        assert self.current is not None
        try:
            check_rules(self.current.rules, known)
        except Refused:
            return True
        return self.current.lists(known.artifact)
