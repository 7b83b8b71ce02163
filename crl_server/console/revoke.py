"""Revoking in two steps: say what, see what that reaches, confirm. Only what was shown is done."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.api.problems import status_of
from crl_server.console import questions
from crl_server.console.desk import Desk, Facts
from crl_server.console.door import Visitor
from crl_server.console.forms import Form
from crl_server.console.hosts_pages import coverage
from crl_server.console.wanted import FIELDS, KINDS, Wanted, wanted_in
from crl_server.lists import rules
from crl_server.revocation.revoking import Order
from crl_server.revocation.standing import Radius
from crl_server.storage.idempotency import fingerprint
from crl_server.storage.ledger import MAX_ID
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.formats.strict_json import dumps

MANY = 5
"""From how many artifacts on their number has to be typed."""
SHOWN = 200
"""How many artifacts of a blast radius a page has."""

Preset = Annotated[str, Query(max_length=1000)]


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the pages."""

    @console.get("/revoke")
    async def ask(
        request: Request,
        digest: Preset = "",
        plugin: Preset = "",
        versions: Preset = "",
        purl: Preset = "",
    ) -> Response:
        visitor = await desk.reader(request, "revocation.add")
        kind = "plugin" if plugin else "component" if purl else "artifacts"
        given = {"kind": kind, "digests": digest, "plugin": plugin, "plugin_range": versions if plugin else "",
                 "purl": purl, "purl_range": versions if purl else ""}  # fmt: skip
        return await desk.show(visitor, "revoke.html", lambda: _form_facts(desk, given))

    @console.post("/revoke/review")
    async def review(request: Request) -> Response:
        visitor, form = await desk.writer(request, "revocation.add")
        return await run_in_threadpool(_review, desk, visitor, form)

    @console.post("/revoke")
    async def confirm(request: Request) -> Response:
        visitor, form = await desk.writer(request, "revocation.add")
        return await run_in_threadpool(_confirm, desk, visitor, form)

    @console.get("/events/{seq}")
    async def event(request: Request, seq: Annotated[int, Path(ge=1, le=MAX_ID)]) -> Response:
        visitor = await desk.reader(request, "revocation.read")
        return await desk.show(visitor, "event.html", lambda: _event(desk, visitor, seq))


def _form_facts(desk: Desk, given: dict[str, str], error: LoadlockError | None = None) -> Facts:
    with desk.authority.store.read() as ledger:
        known = questions.plugin_ids(ledger)
    policy = desk.authority.repository.trust().policy
    return {
        "kinds": KINDS,
        "reasons": rules.REASONS,
        "severities": rules.SEVERITIES,
        "given": dict.fromkeys(FIELDS, "") | given,
        "error": error,
        "plugin_ids": known,
        "principals": sorted(policy.principals),
    }


def _review(desk: Desk, visitor: Visitor, form: Form, notice: str = "") -> Response:
    try:
        wanted = wanted_in(form)
    except UsageError as error:
        given = {name: form.text(name) for name in FIELDS}
        return desk.page(visitor, "revoke.html", _form_facts(desk, given, error), status_of(error.code))
    radius = desk.authority.radius(wanted, visitor.now)
    with desk.authority.store.read() as ledger:
        total = questions.counts(ledger).artifacts
    facts: dict[str, Any] = {
        "wanted": wanted,
        "is_rule": not isinstance(wanted, Order),
        "fields": {name: form.text(name) for name in FIELDS},
        "radius": radius,
        "total": total,
        "shown": radius.reached[:SHOWN],
        "must_type": radius.artifacts >= MANY,
        "seen": _seen(wanted, radius),
        "key": form.text("idempotency") or secrets.token_urlsafe(24),
        "notice": notice,
    }
    return desk.page(visitor, "review.html", facts, 409 if notice else 200)


def _confirm(desk: Desk, visitor: Visitor, form: Form) -> Response:
    wanted = wanted_in(form)
    radius = desk.authority.radius(wanted, visitor.now)
    if form.text("seen") != _seen(wanted, radius):
        return _review(desk, visitor, form, "What this reaches has changed since you looked. Look again.")
    if radius.artifacts >= MANY and form.text("typed") != str(radius.artifacts):
        return _review(desk, visitor, form, f"Type {radius.artifacts} to confirm that many artifacts.")
    wanted = replace(wanted, confirm=radius.artifacts)  # that many were shown, and what was shown was confirmed
    actor, key = visitor.identity.actor, form.text("idempotency")
    if not key:
        raise UsageError("request.invalid", "the form lacks a field", expected="idempotency")
    if isinstance(wanted, Order):
        done = desk.authority.revoke(wanted, actor, visitor.now, key)
        return desk.away(f"/events/{done.seq}?done=revoked")
    added = desk.authority.add_rule(wanted, actor, visitor.now, key)
    return desk.away(f"/events/{added.seq}?done={added.rule}")


def _seen(wanted: Wanted, radius: Radius) -> str:
    """What tells this order with this radius from any other."""
    found = [(row.digest, row.listed) for row in radius.reached]  # hosts come and go: they change nothing
    return fingerprint(wanted.fingerprint.encode(), dumps([radius.artifacts, found]))


def _event(desk: Desk, visitor: Visitor, seq: int) -> Facts:
    told = coverage(desk.authority, visitor.now, seq) if visitor.offered("host.read") else {}
    with desk.authority.store.read() as ledger:
        found = questions.event(ledger, seq)
        if found is None:
            raise Refused("registry.unknown", "the list has no such event", found=str(seq))
        return told | {"seq": seq, "at": found.at, "listed": questions.listed_by(ledger, seq, SHOWN),
                "rules": questions.rules_of(ledger, seq)}  # fmt: skip
