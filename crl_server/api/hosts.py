"""``/v1/hosts``, ``/v1/coverage`` and ``/v1/components/hosts``: what hosts go by, and what they run."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from crl_server.access.roles import Identity
from crl_server.api.bodies import read_json
from crl_server.api.describe import told
from crl_server.api.edge import Edge, Limit, answer, tagged
from crl_server.fleet import hosts
from crl_server.revocation import standing
from crl_server.revocation.standing import NewRule
from crl_server.service import Authority
from crl_server.storage.ledger import MAX_ID, Ledger
from crl_server.storage.tables import HostInstance
from verifier.errors import Refused
from verifier.formats.acknowledgement import Acknowledgement
from verifier.formats.strict_json import Document
from verifier.formats.text import Name

AfterHost = Annotated[str, Query(max_length=64)]
"""The name of the last host that was seen."""
Seq = Annotated[int | None, Query(ge=0, le=MAX_ID)]
MATCHED = ("usage.arguments",)
Purl = Annotated[str, Query(min_length=1, max_length=1000)]
HostPart = Annotated[str, Path(pattern=f"^(?:{Name.grammar})$")]


class Heard(Document, frozen=True, kw_only=True):
    """A claim was taken; ``seq`` is the last event of the list."""

    seq: int


class InstanceShown(Document, frozen=True, kw_only=True):
    """One process of a host: what it said it goes by, how many plugins it runs, and when it was heard of."""

    instance: str
    state: hosts.State
    epoch: int
    seq: int
    policy: int
    loadlock: str
    plugins: int
    omitted: int
    at: str
    heard: str


class HostShown(Document, frozen=True, kw_only=True):
    """A host and its instances."""

    host: str
    instances: tuple[InstanceShown, ...]


class HostPage(Document, frozen=True, kw_only=True):
    """Hosts by name, and the list's last event; ``next`` is what to pass as ``after`` for more, null at the end."""

    seq: int
    hosts: tuple[HostShown, ...]
    next: str | None


class RunningPage(Document, frozen=True, kw_only=True, omit_defaults=True):
    """Which hosts run something that brings a package.

    Attributes:
        purl: the package that was asked for, and with ``range`` its versions.
        artifacts: how many admitted artifacts bring it.
        running: the hosts by name, one row for each artifact.
        unknown: how many artifacts run somewhere that the registry does not know: nobody can tell what they bring.
        next: what to pass as ``after`` for more, null at the end.
    """

    purl: str
    range: str = ""
    artifacts: int
    running: tuple[hosts.RunningOn, ...]
    unknown: int
    next: str | None


def add_routes(app: FastAPI, edge: Edge) -> None:
    """Add the routes of this subject."""

    @app.post("/v1/hosts/{host}/acknowledgement")
    @told(
        "Say what a host goes by and what it runs.", "host.acknowledge",
        body=Acknowledgement, answer=Heard, status=202, codes=("auth.host", "list.deployment", "server.hearing"),
    )  # fmt: skip
    async def acknowledge(request: Request, host: HostPart) -> Response:
        identity, now = await edge.admit(request, "host.acknowledge")
        claim = await read_json(request, Acknowledgement)
        return answer(await run_in_threadpool(take, edge.authority, identity, host, claim, now), 202)

    @app.get("/v1/hosts")
    @told("Hosts by name, each with its instances.", "host.read", answer=HostPage, tagged=True)
    async def all_hosts(request: Request, after: AfterHost = "", limit: Limit = 100) -> Response:
        _, now = await edge.admit(request, "host.read")
        return tagged(request, await run_in_threadpool(listed, edge.authority, after, limit, now))

    @app.get("/v1/coverage")
    @told("How far an event of the list has come.", "host.read", answer=hosts.Coverage, tagged=True)
    async def how_far(request: Request, seq: Seq = None) -> Response:
        _, now = await edge.admit(request, "host.read")
        return tagged(request, await run_in_threadpool(coverage, edge.authority, seq, now))

    @app.get("/v1/components/hosts")
    @told(
        "Which hosts run something that brings a package.", "host.read",
        answer=RunningPage, tagged=True, codes=MATCHED,
    )  # fmt: skip
    async def who_runs(
        request: Request,
        purl: Purl,
        versions: Annotated[str, Query(alias="range", max_length=200)] = "",
        after: AfterHost = "",
        limit: Limit = 100,
    ) -> Response:
        _, now = await edge.admit(request, "host.read")
        match = {"purl": purl} | ({"range": versions} if versions else {})
        return tagged(request, await run_in_threadpool(running, edge.authority, match, after, limit, now))


def take(authority: Authority, who: Identity, host: str, claim: Acknowledgement, now: datetime) -> Heard:
    """Take a claim, and tell how far the list has come.

    Raises:
        Refused: ``auth.host``, ``list.deployment``, ``server.hearing``.
    """
    who.check_host(host)
    who.check_host(claim.host)
    deployment = authority.record.deployment
    if claim.deployment != deployment:
        raise Refused(
            "list.deployment", "the acknowledgement is about another deployment", found=repr(str(claim.deployment)),
            expected=repr(str(deployment)),
        )  # fmt: skip
    authority.hearing.take(claim, now)
    with authority.store.read() as ledger:
        return Heard(seq=ledger.last_seq())


def listed(authority: Authority, after: str, limit: int, now: datetime) -> HostPage:
    """A page of hosts, each with its instances."""
    authority.hearing.keep()
    with authority.store.read() as ledger:
        last = ledger.last_seq()
        rows = hosts.page(ledger, after, limit)
    page = tuple(
        HostShown(host=host, instances=tuple(_instance(row, last, now) for row in group))
        for host, group in groupby(rows, lambda row: row.host)
    )
    return HostPage(seq=last, hosts=page, next=page[-1].host if len(page) == limit else None)


def _instance(row: HostInstance, last: int, now: datetime) -> InstanceShown:
    return InstanceShown(
        instance=row.instance, state=hosts.state_of(row, last, last, now), epoch=row.epoch, seq=row.seq,
        policy=row.policy, loadlock=row.loadlock, plugins=row.running, omitted=row.omitted, at=row.at, heard=row.heard,
    )  # fmt: skip


def coverage(authority: Authority, seq: int | None, now: datetime) -> hosts.Coverage:
    """How far an event has come; without one, the last."""
    authority.hearing.keep()
    with authority.store.read() as ledger:
        return hosts.coverage(ledger, now, seq)


def running(authority: Authority, match: dict[str, Any], after: str, limit: int, now: datetime) -> RunningPage:
    """A page of the hosts that run a plugin which brings a package.

    Raises:
        UsageError: ``usage.arguments`` for a purl or range that cannot be evaluated.
    """
    wanted = NewRule("component", match, "vulnerability")
    authority.hearing.keep()
    with authority.store.read() as ledger:
        return _running(ledger, wanted, after, limit, now)


def _running(ledger: Ledger, wanted: NewRule, after: str, limit: int, now: datetime) -> RunningPage:
    digests = standing.matched(ledger, wanted.numbered(1))
    found = [row for row in hosts.running(ledger, digests, now) if row.host > after]
    names = list(dict.fromkeys(row.host for row in found))
    shown = set(names[:limit])
    return RunningPage(
        **wanted.match, artifacts=len(digests), running=tuple(row for row in found if row.host in shown),
        unknown=hosts.unknown(ledger), next=names[limit - 1] if len(names) > limit else None,
    )  # fmt: skip
