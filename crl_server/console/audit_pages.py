"""The audit log for people: filtered, the newest entries first, and verified against the signed head."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple, get_args

from fastapi import FastAPI, Query, Request, Response

from crl_server.console import questions
from crl_server.console.desk import Desk, Facts
from crl_server.records.audit import Action, Entry, parse_entry
from crl_server.service import Authority
from crl_server.storage.ledger import MAX_ID, Ledger
from verifier.errors import FormatError, Refused

SHOWN = 50
LOOKED_AT = 5000
"""How many entries are looked through for one page; the next page goes on from there."""
AT_ONCE = 500
VERIFIED_UNASKED = 5000
"""Up to how many entries a log is verified whenever its page is opened; a longer one on demand."""

Word = Annotated[str, Query(max_length=200)]


class Filter(NamedTuple):
    """Which entries are wanted; an empty field is any."""

    actor: str = ""
    action: str = ""
    subject: str = ""
    day: str = ""

    def takes(self, entry: Entry) -> bool:
        """Whether an entry is wanted."""
        return (
            self.actor.lower() in entry.actor.lower()
            and self.action in ("", entry.action)
            and self.subject.lower() in entry.subject.lower()
            and entry.time.startswith(self.day)
        )


class Page(NamedTuple):
    """Entries, and the index below which the next page goes on; None at the log's beginning."""

    entries: Sequence[Entry]
    unreadable: Sequence[int]
    next: int | None


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the page."""

    @console.get("/audit")
    async def audit_log(
        request: Request,
        actor: Word = "",
        action: Word = "",
        subject: Word = "",
        day: Annotated[str, Query(max_length=10)] = "",
        before: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
        verify: bool = False,
    ) -> Response:
        visitor = await desk.reader(request, "audit.read")
        wanted = Filter(actor.strip(), action, subject.strip(), day)
        return await desk.show(
            visitor, "audit.html", lambda: _facts(desk.authority, wanted, before, verify, visitor.now)
        )


def look(ledger: Ledger, wanted: Filter, before: int) -> Page:
    """A page of the log below the index ``before`` (0: from its end), and no further than is affordable."""
    end = before or ledger.audit_state().count
    found: list[Entry] = []
    unreadable: list[int] = []
    for first in range(end - AT_ONCE, end - LOOKED_AT - 1, -AT_ONCE):
        lines = questions.audit_lines(ledger, max(first, 0), first + AT_ONCE)
        for index, line in lines:
            try:
                entry = parse_entry(line)
            except FormatError:
                unreadable.append(index)  # verification says what that means
                continue
            if wanted.takes(entry):
                found.append(entry)
                if len(found) == SHOWN:
                    return Page(found, unreadable, index or None)
        if first <= 0:
            return Page(found, unreadable, None)
    return Page(found, unreadable, max(end - LOOKED_AT, 0) or None)


def _facts(authority: Authority, wanted: Filter, before: int, verify: bool, now: datetime) -> Facts:
    with authority.store.read() as ledger:
        page = look(ledger, wanted, before)
        count = ledger.audit_state().count
    return {
        "page": page,
        "wanted": wanted,
        "actions": sorted(get_args(Action)),
        "count": count,
        "filtered": any(wanted),
        **(_verified(authority, now) if verify or count <= VERIFIED_UNASKED else {"verdict": None}),
    }


def _verified(authority: Authority, now: datetime) -> dict[str, Any]:
    try:
        return {"verdict": "whole", "state": authority.verify_audit(now)}
    except Refused as refusal:
        return {"verdict": "broken", "refusal": refusal}
