"""What has been admitted: artifacts, their attestation sets and their components."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec
from packaging.version import Version
from sqlalchemy.orm import defer
from sqlmodel import col, delete, select

from crl_server.plugins.ranking import Card
from crl_server.storage.ledger import Ledger, in_parts
from crl_server.storage.tables import Artifact, Component, ListEntry
from verifier.errors import Refused
from verifier.formats.bundle import parse_set
from verifier.formats.sbom import Component as SbomComponent
from verifier.formats.tables import reader
from verifier.formats.text import Digest, PluginId


class Brief(NamedTuple):
    """An admitted artifact in a few words: what is large of it stays in the database."""

    digest: Digest
    plugin_id: str
    version: str
    tier: str


_LARGE = tuple(defer(column) for column in (Artifact.attestations, Artifact.record, Artifact.subject))  # type: ignore[arg-type]
"""What a page of artifacts does without, unless it is asked for of one."""


def artifact(ledger: Ledger, digest: Digest) -> Artifact | None:
    """The admitted artifact of that digest, if any."""
    return ledger.session.get(Artifact, digest)


def brief(ledger: Ledger, digests: Sequence[str]) -> list[Brief]:
    """Those of these digests that were admitted, in their order."""
    query = select(Artifact.digest, Artifact.plugin_id, Artifact.version, Artifact.tier)
    known = {
        digest: Brief(Digest(digest), *more)
        for part in in_parts(digests)
        for digest, *more in ledger.session.exec(query.where(col(Artifact.digest).in_(part)))
    }
    return [known[digest] for digest in digests if digest in known]


def keep(ledger: Ledger, new: Artifact, components: Iterable[SbomComponent]) -> None:
    """Remember an artifact and its components, in place of what was known of that digest."""
    ledger.session.merge(new)
    ledger.session.flush()
    ledger.session.exec(delete(Component).where(col(Component.artifact) == new.digest))
    ledger.session.add_all(
        Component(artifact=new.digest, purl=part.purl[:1000], name=part.name[:500], version=part.version[:200])
        for part in components
    )


class _Declared(msgspec.Struct, frozen=True):
    """What a card takes from a manifest; the rest is left to its reader."""

    class Named(msgspec.Struct, frozen=True):
        """A capability's name."""

        name: str

    description: str
    owner: str
    kind: str
    maturity: str
    capabilities: tuple[Named, ...] = ()
    hooks: tuple[str, ...] = ()


def cards(ledger: Ledger) -> list[Card]:
    """A card for each plugin, by id."""
    query = select(Artifact.digest, Artifact.plugin_id, Artifact.version, Artifact.tier)
    admitted = ledger.session.exec(query.order_by(col(Artifact.plugin_id))).all()
    on_the_list = select(ListEntry.digest).where(col(ListEntry.digest) == col(Artifact.digest))
    listed = set(ledger.session.exec(on_the_list.where(col(ListEntry.removed).is_(None))))
    found = []
    for plugin_id, group in groupby(admitted, lambda row: row[1]):
        rows = list(group)
        digest, _, version, tier = max(rows, key=lambda row: (row[0] not in listed, Version(row[2]), row[0]))
        declared = _declared(ledger, digest)
        found.append(
            Card(
                plugin_id=plugin_id, artifacts=len(rows), latest=version, tier=tier, revoked=digest in listed,
                description=declared.description, owner=declared.owner, kind=declared.kind, maturity=declared.maturity,
                capabilities=tuple(capability.name for capability in declared.capabilities), hooks=declared.hooks,
            )
        )  # fmt: skip
    return found


def _declared(ledger: Ledger, digest: str) -> _Declared:
    manifest = ledger.session.exec(select(Artifact.manifest).where(Artifact.digest == digest)).one()
    found: _Declared = reader(_Declared).decode(manifest)
    return found  # the server's own, verified when it was admitted


def artifacts(
    ledger: Ledger, plugin: PluginId, after: Digest | None = None, limit: int | None = None
) -> Sequence[Artifact]:
    """A plugin's artifacts, the last admitted first; their sets, RECORDs and subjects are not read before they are
    asked for.

    Args:
        ledger: an open transaction.
        plugin: the plugin.
        after: the artifact after which to begin; None for the first.
        limit: how many at most; None for all.

    Raises:
        Refused: ``registry.unknown``: ``after`` is none of the plugin's.
    """
    query = select(Artifact).where(Artifact.plugin_id == plugin).options(*_LARGE)
    if after is not None:
        last = artifact(ledger, after)
        if last is None or last.plugin_id != plugin:
            raise Refused("registry.unknown", "the page begins after what is not there", found=after)
        same = (col(Artifact.admitted_at) == last.admitted_at) & (col(Artifact.digest) > after)
        query = query.where((col(Artifact.admitted_at) < last.admitted_at) | same)
    query = query.order_by(col(Artifact.admitted_at).desc(), col(Artifact.digest))
    return ledger.session.exec(query if limit is None else query.limit(limit)).all()


def newest(ledger: Ledger, plugin: PluginId) -> Artifact | None:
    """A plugin's artifact that was admitted last and is not on the list, else the one that was admitted last at all;
    None for a plugin that is not known.
    """
    listed = select(ListEntry.digest).where(ListEntry.digest == Artifact.digest, col(ListEntry.removed).is_(None))
    query = select(Artifact).where(Artifact.plugin_id == plugin).options(*_LARGE)
    order = (listed.exists(), col(Artifact.admitted_at).desc(), col(Artifact.digest))
    return ledger.session.exec(query.order_by(*order).limit(1)).first()


def signed_with(ledger: Ledger, hint: str) -> Sequence[Digest]:
    """The artifacts whose sets hold a statement by the key with that hint, less those that are revoked."""
    return [
        Digest(row.digest)
        for row in ledger.session.exec(select(Artifact).order_by(col(Artifact.digest)))
        if hint in {bundle.hint for bundle in parse_set(row.attestations)} and ledger.listed(Digest(row.digest)) is None
    ]


def usable(ledger: Ledger) -> frozenset[Digest]:
    """The artifacts that were admitted and are not on the list."""
    listed = select(ListEntry.digest).where(col(ListEntry.removed).is_(None))
    rows = ledger.session.exec(select(Artifact.digest).where(col(Artifact.digest).not_in(listed)))
    return frozenset(Digest(digest) for digest in rows)


def digests(ledger: Ledger) -> Sequence[str]:
    """The digests of all artifacts."""
    return ledger.session.exec(select(Artifact.digest)).all()


def attestations(ledger: Ledger, digest: str) -> bytes | None:
    """The attestation set of an artifact, if it was admitted."""
    return ledger.session.exec(select(Artifact.attestations).where(Artifact.digest == digest)).first()
