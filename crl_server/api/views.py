"""What the API shows: rows of the database as plain values."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlmodel import select

from crl_server import registry, reinstating, standing
from crl_server.ledger import Ledger
from crl_server.service import Authority
from crl_server.store import Store
from crl_server.tables import Artifact, Component, Revocation
from verifier.errors import Refused, UsageError
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Digest, PluginId


def readiness(authority: Authority, now: datetime) -> dict[str, Any]:
    """Whether a valid list is being served.

    Raises:
        Refused: ``server.not-ready``, ``trust.*``.
    """
    head = authority.standing(now).revocations.head
    return {"status": "ready", "seq": head.seq, "expires": head.expires, "warnings": authority.warnings(now)}


def plugins(store: Store, after: str, limit: int) -> dict[str, Any]:
    """A page of plugin ids, each with its number of artifacts."""
    with store.read() as ledger:
        rows = registry.plugins(ledger, after, limit)
    page = [{"plugin_id": plugin_id, "artifacts": count} for plugin_id, count in rows]
    return {"plugins": page, "next": rows[-1][0] if len(rows) == limit else None}


def plugin(store: Store, plugin_id: str) -> dict[str, Any]:
    """A plugin's artifacts, the last admitted first.

    Raises:
        Refused: ``registry.unknown``.
        UsageError: ``request.invalid``.
    """
    with store.read() as ledger:
        rows = registry.artifacts(ledger, _parsed(PluginId, plugin_id))
        if not rows:
            raise Refused("registry.unknown", "the registry has no such plugin", found=repr(plugin_id[:80]))
        return {"plugin_id": plugin_id, "artifacts": [_summary(ledger, row) for row in rows]}


def artifact(store: Store, digest: str) -> dict[str, Any]:
    """All that is known of an artifact.

    Raises:
        Refused: ``registry.unknown``.
        UsageError: ``request.invalid``.
    """
    wanted = _parsed(Digest, digest)
    with store.read() as ledger:
        row = registry.artifact(ledger, wanted)
        if row is None:
            raise Refused("registry.unknown", "the registry has no such artifact", found=wanted)
        parts = ledger.session.exec(select(Component).where(Component.artifact == wanted)).all()
        return {
            **_summary(ledger, row),
            "manifest": json.loads(row.manifest),
            "components": [{"name": part.name, "version": part.version, "purl": part.purl} for part in parts],
            "attestations": f"/sets/{wanted.hex}.jsonl",
        }


def revocations(store: Store, after: int, limit: int) -> dict[str, Any]:
    """A page of revocations, the oldest first."""
    with store.read() as ledger:
        rows = ledger.revocations(after, limit)
    page = [{"id": row.id, "digest": row.digest, "seq": seq, **_reason(row)} for row, seq in rows]
    return {"revocations": page, "next": rows[-1][0].id if len(rows) == limit else None}


def rules(store: Store) -> dict[str, Any]:
    """The standing rules in force."""
    with store.read() as ledger:
        return {"rules": standing.in_force(ledger).rules}


def reinstatements(store: Store, after: int, limit: int) -> dict[str, Any]:
    """A page of requests to take something back, the oldest first."""
    with store.read() as ledger:
        rows = reinstating.requests(ledger, after, limit)
    page = [
        {
            "id": row.id,
            "digest": row.digest,
            "rule": None if row.rule is None else f"R{row.rule}",
            "note": row.note,
            "at": row.at,
            "by": row.by,
            "approved_at": row.approved_at,
            "approved_by": row.approved_by,
            "epoch": row.epoch,
        }
        for row in rows
    ]
    return {"reinstatements": page, "next": rows[-1].id if len(rows) == limit else None}


def audit_log(store: Store, after: int, limit: int) -> dict[str, Any]:
    """A page of the audit log: each entry's exact text and its hash, and the state of the whole log."""
    with store.read() as ledger:
        lines = list(ledger.audit_lines(after, limit))
        state = ledger.audit_state()
    page = [{"line": line.decode("utf-8", "replace"), "sha256": sha256_hex(line)} for line in lines]
    return {"entries": page, "next": after + limit if len(lines) == limit else None, "state": state}


def _summary(ledger: Ledger, row: Artifact) -> dict[str, Any]:
    reasons = ledger.reasons(Digest(row.digest))
    return {
        "digest": row.digest,
        "file_name": row.file_name,
        "plugin_id": row.plugin_id,
        "version": row.version,
        "tier": row.tier,
        "manifest_digest": row.manifest_digest,
        "signers": json.loads(row.signers),
        "policy_version": row.policy_version,
        "admitted_at": row.admitted_at,
        "admitted_by": row.admitted_by,
        "revoked": [_reason(reason) for reason in reasons],
    }


def _reason(row: Revocation) -> dict[str, Any]:
    shown: dict[str, Any] = {"reason": row.reason, "note": row.note, "at": row.at, "by": row.by}
    shown |= {} if row.rule is None else {"rule": f"R{row.rule}"}
    return shown if row.withdrawn is None else shown | {"withdrawn": row.withdrawn}


def _parsed(kind: type[Digest] | type[PluginId], value: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise UsageError("request.invalid", "the address is malformed", found=str(error)) from None
