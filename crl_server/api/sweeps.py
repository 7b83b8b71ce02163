"""``/v1/revocations/bulk``: many digests, many rules, and what advisories say, in one step of the list."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from msgspec import Meta

from crl_server.api.bodies import UNIQUE, Confirm, Note, read_json
from crl_server.api.describe import PUBLISHED, told
from crl_server.api.edge import Edge, answer, key_of
from crl_server.api.rules import RuleKind
from crl_server.lists.rules import Reason, Severity
from crl_server.revocation import osv
from crl_server.revocation.revoking import Why
from crl_server.revocation.standing import MAX_EXCEPTED, NewRule, Radius
from crl_server.revocation.sweeping import MAX_DIGESTS, MAX_RULES, Sweep, Swept
from verifier.formats.advisory import Advisory
from verifier.formats.strict_json import Document, convert
from verifier.formats.text import Digest

MAX_BODY = 8 * 1024 * 1024
"""Size cap of a body in bytes."""
MAX_ADVISORIES = 1_000


class SweptRule(Document, frozen=True, kw_only=True, rename={"excepted": "except"}):
    """One rule of a sweep; its reason is that of the sweep."""

    kind: RuleKind
    match: dict[str, Any]
    note: Note = ""
    severity: Severity | None = None
    excepted: Annotated[tuple[Digest, ...], Meta(max_length=MAX_EXCEPTED)] = ()


class SweepBody(Document, frozen=True, kw_only=True):
    """What ``POST /v1/revocations/bulk`` takes.

    Attributes:
        osv: advisories in the OSV format; each range of a Python distribution becomes a rule for its component.
        resolve: revoke what the rules match today, instead of putting them in force.
        confirm: how many admitted artifacts it may newly deny, beyond what passes without a confirmation.
    """

    digests: Annotated[tuple[Digest, ...], Meta(max_length=MAX_DIGESTS, extra_json_schema=UNIQUE)] = ()
    rules: Annotated[tuple[SweptRule, ...], Meta(max_length=MAX_RULES)] = ()
    osv: Annotated[tuple[dict[str, Any], ...], Meta(max_length=MAX_ADVISORIES)] = ()
    reason: Reason
    note: Note = ""
    severity: Severity | None = None
    resolve: bool = False
    confirm: Confirm = 0
    dry_run: bool = False


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/revocations/bulk")
    @told(
        "Revoke many at once, or only ask what that would reach.", "revocation.add",
        body=SweepBody, answer=Swept, status=201, dry=Radius, codes=PUBLISHED,
    )  # fmt: skip
    async def sweep(request: Request) -> Response:
        identity, now = await edge.admit(request, "revocation.add")
        body = await read_json(request, SweepBody, MAX_BODY)
        wanted = await run_in_threadpool(sweep_of, body)
        if body.dry_run:
            return answer(await run_in_threadpool(edge.authority.radius, wanted, now))
        done = await run_in_threadpool(edge.authority.sweep, wanted, identity.actor, now, key_of(request))
        return answer(done, 201)


def sweep_of(body: SweepBody) -> Sweep:
    """What a body asks for.

    Raises:
        FormatError: ``format.schema``: an advisory cannot be evaluated.
        UsageError: ``usage.arguments``.
    """
    advisories = [convert(one, Advisory, what=f"advisory {number}") for number, one in enumerate(body.osv)]
    found, _ = osv.findings(advisories)
    some = [
        NewRule(
            rule.kind, rule.match, body.reason, rule.note or body.note, rule.excepted, rule.severity or body.severity
        )
        for rule in body.rules
    ]
    some += [NewRule("component", one.match, body.reason, one.note, (), one.severity or body.severity) for one in found]
    why = Why(body.reason, body.note, body.severity)
    return Sweep(body.digests, why, tuple(some), body.resolve, body.confirm)
