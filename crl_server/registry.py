"""What has been admitted: artifacts, their attestation sets and their components."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlmodel import col, delete, func, select

from crl_server.ledger import Ledger
from crl_server.tables import Artifact, Component
from verifier.formats.bundle import parse_set
from verifier.formats.sbom import Component as SbomComponent
from verifier.formats.text import Digest, PluginId


def artifact(ledger: Ledger, digest: Digest) -> Artifact | None:
    """The admitted artifact of that digest, if any."""
    return ledger.session.get(Artifact, digest)


def keep(ledger: Ledger, new: Artifact, components: Iterable[SbomComponent]) -> None:
    """Remember an artifact and its components, in place of what was known of that digest."""
    ledger.session.merge(new)
    ledger.session.flush()
    ledger.session.exec(delete(Component).where(col(Component.artifact) == new.digest))
    ledger.session.add_all(
        Component(artifact=new.digest, purl=part.purl[:1000], name=part.name[:500], version=part.version[:200])
        for part in components
    )


def plugins(ledger: Ledger, after: str, limit: int) -> Sequence[tuple[str, int]]:
    """Plugin ids past ``after`` in alphabetical order, each with its number of artifacts."""
    query = (
        select(Artifact.plugin_id, func.count())
        .where(col(Artifact.plugin_id) > after)
        .group_by(col(Artifact.plugin_id))
        .order_by(col(Artifact.plugin_id))
        .limit(limit)
    )
    return ledger.session.exec(query).all()


def artifacts(ledger: Ledger, plugin: PluginId) -> Sequence[Artifact]:
    """A plugin's artifacts, the last admitted first."""
    query = select(Artifact).where(Artifact.plugin_id == plugin)
    return ledger.session.exec(query.order_by(col(Artifact.admitted_at).desc(), col(Artifact.digest))).all()


def signed_with(ledger: Ledger, hint: str) -> Sequence[Digest]:
    """The artifacts whose sets hold a statement by the key with that hint, less those that are revoked."""
    return [
        Digest(row.digest)
        for row in ledger.session.exec(select(Artifact).order_by(col(Artifact.digest)))
        if hint in {bundle.hint for bundle in parse_set(row.attestations)} and ledger.listed(Digest(row.digest)) is None
    ]


def digests(ledger: Ledger) -> Sequence[str]:
    """The digests of all artifacts."""
    return ledger.session.exec(select(Artifact.digest)).all()


def attestations(ledger: Ledger, digest: str) -> bytes | None:
    """The attestation set of an artifact, if it was admitted."""
    return ledger.session.exec(select(Artifact.attestations).where(Artifact.digest == digest)).first()
