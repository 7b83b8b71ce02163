"""Hosts: how far the list has come, as it climbs, and what runs where."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from crl_server.api import hosts as api
from crl_server.console import plots, questions
from crl_server.console.desk import Desk, Facts, page_of
from crl_server.console.plots import Point
from crl_server.fleet import coverage_history, hosts
from crl_server.service import Authority
from crl_server.storage.ledger import MAX_ID
from verifier.errors import Refused, UsageError
from verifier.formats.text import Digest, Time

SHOWN = 50
DRAWN = timedelta(hours=24)
"""How much of the past the plot of coverage has."""

HostName = Annotated[str, Query(max_length=64)]


def add_pages(console: FastAPI, desk: Desk) -> None:
    """Add the pages."""

    @console.get("/hosts")
    async def all_hosts(
        request: Request,
        after: HostName = "",
        purl: Annotated[str, Query(max_length=1000)] = "",
        versions: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        visitor = await desk.reader(request, "host.read")
        return await desk.show(
            visitor, "hosts.html", lambda: _hosts(desk.authority, after, purl.strip(), versions.strip(), visitor.now)
        )

    @console.get("/coverage")
    async def live(request: Request, seq: Annotated[int | None, Query(ge=0, le=MAX_ID)] = None) -> Response:
        # Asked for by a page that stays open: that is nobody's doing, and keeps no session alive.
        visitor = await desk.reader(request, "host.read", counts=False)
        return await desk.show(visitor, "coverage.html", lambda: coverage(desk.authority, visitor.now, seq))

    @console.get("/hosts/{name}")
    async def host(request: Request, name: api.HostPart) -> Response:
        visitor = await desk.reader(request, "host.read")
        return await desk.show(visitor, "host.html", lambda: _host(desk.authority, name, visitor.now))


def coverage(authority: Authority, now: datetime, seq: int | None = None) -> dict[str, Any]:
    """How far an event has come, by default the last one."""
    found = api.coverage(authority, seq, now)
    share = found.enforcing / found.hosts if found.hosts else None
    return {"covered": found, "percent": None if share is None else int(share * 100), "of_seq": seq}


def _hosts(authority: Authority, after: str, purl: str, versions: str, now: datetime) -> Facts:
    facts: dict[str, Any] = coverage(authority, now)
    with authority.store.read() as ledger:
        last = ledger.last_seq()
        rows = hosts.page(ledger, after, SHOWN + 1)
        points = coverage_history.since(ledger, now - DRAWN)
        unknown = hosts.unknown(ledger)
    lines = [_line(name, list(group), last, now) for name, group in groupby(rows, lambda row: row.host)]
    shown, end = page_of(lines, SHOWN)
    drawn = [Point(Time(row.at).instant, row.enforcing / row.hosts) for row in points if row.hosts]
    return facts | {
        "rows": shown,
        "more": None if end is None else end["host"],
        "points": [row for row in points if row.hosts],
        "plot": plots.line(drawn, now - DRAWN, now) if drawn else None,
        "unknown": unknown,
        **_who_runs(authority, purl, versions, now),
    }


def _line(name: str, rows: list[Any], last: int, now: datetime) -> dict[str, Any]:
    states = sorted({hosts.state_of(row, last, last, now) for row in rows})
    return {
        "host": name, "instances": len(rows), "states": states, "seq": min(row.seq for row in rows),
        "heard": max(row.heard for row in rows), "running": max(row.running for row in rows),
        "loadlock": ", ".join(sorted({row.loadlock for row in rows})),
    }  # fmt: skip


def _who_runs(authority: Authority, purl: str, versions: str, now: datetime) -> dict[str, Any]:
    """Which hosts run a component now; nothing where none was asked for."""
    asked: dict[str, Any] = {"purl": purl, "versions": versions, "who_runs": None, "wrong": None}
    if not purl:
        return asked
    try:
        found = api.running(authority, {"purl": purl} | ({"range": versions} if versions else {}), "", SHOWN, now)
    except UsageError as error:
        return asked | {"wrong": error}
    return asked | {"who_runs": found.running}


def _host(authority: Authority, name: str, now: datetime) -> Facts:
    authority.hearing.keep()
    with authority.store.read() as ledger:
        last = ledger.last_seq()
        rows = questions.instances(ledger, name)
        if not rows:
            raise Refused("registry.unknown", "no such host was heard of lately", found=f"{name!a}")
        plugins = [(row, ledger.listed(Digest(row.digest))) for row in questions.running_on(ledger, name)]
    instances = [(row, hosts.state_of(row, last, last, now)) for row in rows]
    return {"host": name, "instances": instances, "plugins": plugins, "last": last}
