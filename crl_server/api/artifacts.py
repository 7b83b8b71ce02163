"""``/v1/artifacts``: admitting, what is known of what was admitted, and which artifacts bring a component."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlmodel import select

from crl_server.api.bodies import OPTIONAL, PARTS, receive_upload
from crl_server.api.describe import told
from crl_server.api.edge import AfterDigest, DigestPart, Edge, Limit, answer, key_of, tagged
from crl_server.api.plugins import Summary, summary
from crl_server.plugins import registry
from crl_server.plugins.admission import Admission
from crl_server.revocation import standing
from crl_server.revocation.standing import NewRule
from crl_server.storage.store import Store
from crl_server.storage.tables import Artifact, Component
from verifier.errors import Refused
from verifier.formats.bundle import parse_set
from verifier.formats.revocations import sha256_hex
from verifier.formats.statement import SBOM, Statement, parse_statement
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest

ADMISSION = (
    "auth.plugin", "server.*", "clock.behind", "request.idempotency", "trust.*", "list.*", "revoked.*", "set.*",
    "signature.*", "subject.*", "wheel.*", "manifest.*", "sbom.*", "dependency.*", "provenance.*", "certification.*",
    "rule.*", "decision.*", "layout.*", "format.*", "findings.*", "usage.*",
)  # fmt: skip
"""The groups of codes that a plugin may be refused with."""
SET = "application/jsonl"
CYCLONEDX = "application/vnd.cyclonedx+json"
Purl = Annotated[str, Query(min_length=1, max_length=500)]
Range = Annotated[str, Query(alias="range", max_length=200)]
UNKNOWN = ("registry.unknown",)


class ComponentRow(Document, frozen=True, kw_only=True):
    """A component that an artifact's SBOM lists."""

    name: str
    version: str
    purl: str


class ArtifactDetail(Summary, frozen=True, kw_only=True):
    """All that is known of an artifact: its signed manifest, its components, and where its attestation set is."""

    manifest: dict[str, Any]
    components: tuple[ComponentRow, ...]
    attestations: str


class Evidence(Document, frozen=True, kw_only=True):
    """A statement that counted when the artifact was admitted: its type, its signer, and the sha256 of its payload."""

    predicate_type: str
    signer: str
    payload: str


class EvidenceList(Document, frozen=True, kw_only=True):
    """What an artifact was admitted on, and where the whole set is."""

    digest: str
    set_digest: str
    statements: tuple[Evidence, ...]
    attestations: str


class Bringing(Document, frozen=True, kw_only=True):
    """An admitted artifact that brings a component."""

    digest: str
    plugin_id: str
    version: str
    tier: str
    revoked: bool


class BringingPage(Document, frozen=True, kw_only=True):
    """Artifacts by digest; ``next`` is what to pass as ``after`` for more, null at the end."""

    artifacts: tuple[Bringing, ...]
    next: str | None


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/artifacts")
    @told(
        "Admit a plugin: a wheel with its attestation set.", "artifact.admit",
        form=dict.fromkeys(PARTS, True) | dict.fromkeys(OPTIONAL, False), answer=Admission, status=201, codes=ADMISSION,
    )  # fmt: skip
    async def admit(request: Request) -> Response:
        identity, now = await edge.admit(request, "artifact.admit")
        with edge.receiving.of(identity.actor):
            async with receive_upload(request) as received, edge.uploads:
                upload = await received.read()
                done = await run_in_threadpool(edge.authority.admit, upload, identity, now, key_of(request))
        return answer(done, 201, {"Location": f"/v1/artifacts/{done.digest}"})

    @app.get("/v1/artifacts/{digest}")
    @told("All that is known of an artifact.", "artifact.read", answer=ArtifactDetail, tagged=True, codes=UNKNOWN)
    async def one_artifact(request: Request, digest: DigestPart) -> Response:
        await edge.admit(request, "artifact.read")
        return tagged(request, await run_in_threadpool(artifact, edge.authority.store, Digest(digest)))

    @app.get("/v1/artifacts/{digest}/evidence")
    @told("What an artifact was admitted on.", "artifact.read", answer=EvidenceList, tagged=True, codes=UNKNOWN)
    async def its_evidence(request: Request, digest: DigestPart) -> Response:
        await edge.admit(request, "artifact.read")
        return tagged(request, await run_in_threadpool(evidence, edge.authority.store, Digest(digest)))

    @app.get("/v1/artifacts/{digest}/attestations")
    @told("The attestation set.", "artifact.read", media=SET, tagged=True, codes=UNKNOWN)
    async def its_set(request: Request, digest: DigestPart) -> Response:
        await edge.admit(request, "artifact.read")
        return tagged(request, await run_in_threadpool(attestations, edge.authority.store, Digest(digest)), SET)

    @app.get("/v1/artifacts/{digest}/sbom")
    @told("The SBOM, byte for byte as it was signed.", "artifact.read", media=CYCLONEDX, tagged=True, codes=UNKNOWN)
    async def its_sbom(request: Request, digest: DigestPart) -> Response:
        await edge.admit(request, "artifact.read")
        return tagged(request, await run_in_threadpool(sbom, edge.authority.store, Digest(digest)), CYCLONEDX)

    @app.get("/v1/components/artifacts")
    @told(
        "Which artifacts bring a package.", "artifact.read",
        answer=BringingPage, tagged=True, codes=("usage.arguments",),
    )  # fmt: skip
    async def who_brings(
        request: Request, purl: Purl, versions: Range = "", after: AfterDigest = None, limit: Limit = 100
    ) -> Response:
        await edge.admit(request, "artifact.read")
        wanted = component_rule(purl, versions)
        return tagged(request, await run_in_threadpool(bringing, edge.authority.store, wanted, after or "", limit))


def artifact(store: Store, wanted: Digest) -> ArtifactDetail:
    """All that is known of an artifact.

    Raises:
        Refused: ``registry.unknown``.
    """
    with store.read() as ledger:
        row = registry.artifact(ledger, wanted)
        if row is None:
            raise Refused("registry.unknown", "the registry has no such artifact", found=wanted)
        parts = ledger.session.exec(select(Component).where(Component.artifact == wanted)).all()
        return ArtifactDetail(
            **summary(ledger, row),
            manifest=json.loads(row.manifest),
            components=tuple(ComponentRow(name=part.name, version=part.version, purl=part.purl) for part in parts),
            attestations=f"/sets/{wanted.hex}.jsonl",
        )


def evidence(store: Store, wanted: Digest) -> EvidenceList:
    """The statements that counted when an artifact was admitted; raises as :func:`artifact`."""
    row, counted = _counted(store, wanted)
    signers = json.loads(row.signers)
    found = [
        Evidence(
            predicate_type=statement.predicate_type, signer=signers.get(statement.predicate_type, ""), payload=payload
        )
        for payload, statement in counted
    ]
    return EvidenceList(
        digest=wanted,
        set_digest=f"sha256:{sha256_hex(row.attestations)}",
        statements=tuple(sorted(found, key=lambda one: (one.predicate_type, one.payload))),
        attestations=f"/sets/{wanted.hex}.jsonl",
    )


def attestations(store: Store, wanted: Digest) -> bytes:
    """An artifact's attestation set; raises as :func:`artifact`."""
    return _row(store, wanted).attestations


def sbom(store: Store, wanted: Digest) -> bytes:
    """An artifact's SBOM in the exact bytes that were signed; raises as :func:`artifact`."""
    _, counted = _counted(store, wanted)
    found = next((statement for _, statement in counted if statement.predicate_type == SBOM), None)
    if found is None:
        raise Refused("registry.unknown", "the registry has no SBOM of this artifact", found=wanted)
    return found.predicate


def bringing(store: Store, wanted: NewRule, after: str, limit: int) -> BringingPage:
    """A page of the artifacts that bring a component."""
    with store.read() as ledger:
        rest = [digest for digest in standing.matched(ledger, wanted.numbered(1)) if digest > after]
        page = tuple(
            Bringing(
                digest=row.digest, plugin_id=row.plugin_id, version=row.version, tier=row.tier,
                revoked=ledger.listed(row.digest) is not None,
            )
            for row in registry.brief(ledger, rest[:limit])
        )  # fmt: skip
    return BringingPage(artifacts=page, next=page[-1].digest if len(rest) > limit else None)


def component_rule(purl: str, versions: str) -> NewRule:
    """The question which artifacts bring a package, as the rule that would revoke them.

    Raises:
        UsageError: ``usage.arguments`` for a purl or range that cannot be evaluated.
    """
    return NewRule("component", {"purl": purl} | ({"range": versions} if versions else {}), "vulnerability")


def _row(store: Store, wanted: Digest) -> Artifact:
    with store.read() as ledger:
        row = registry.artifact(ledger, wanted)
    if row is None:
        raise Refused("registry.unknown", "the registry has no such artifact", found=wanted)
    return row


def _counted(store: Store, wanted: Digest) -> tuple[Artifact, list[tuple[str, Statement]]]:
    """An artifact, and the statements of its set that counted, each with the digest of its payload."""
    row = _row(store, wanted)
    known = json.loads(row.subject)["statements"] if row.subject is not None else []
    found = []
    for bundle in parse_set(row.attestations):
        # Which payloads counted was found out when their signatures were verified, at admission.
        payload = bundle.envelope.unverified_payload
        digest = f"sha256:{sha256_hex(payload)}"
        if digest in known:
            found.append((digest, parse_statement(payload)))
    return row, found
