"""The application: its subjects, joined."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from crl_server.api import (
    artifacts,
    audit_log,
    description,
    events,
    health,
    hosts,
    metrics,
    plugins,
    problems,
    reinstatements,
    revocations,
    rules,
    sweeps,
    waivers,
)
from crl_server.api.edge import Clock, Edge, nothing
from crl_server.api.limits import Buckets, Rate, Writes
from crl_server.api.static import StaticTree
from crl_server.console.join import add_console
from crl_server.lists.public_files import ROUTE
from crl_server.lists.wholeness import Wholeness
from crl_server.operating.instruments import Instruments
from crl_server.operating.tracing import NOT_FASTAPIS
from crl_server.service import Authority

SUBJECTS = (
    description, health, metrics, artifacts, plugins, revocations, sweeps, rules, reinstatements, audit_log, hosts,
    events, waivers,
)  # fmt: skip
"""The modules whose routes make up the API."""


def create_app(
    authority: Authority,
    clock: Clock,
    rate: Rate | None = None,
    instruments: Instruments | None = None,
    buckets: Callable[[Rate], Writes] = Buckets,
) -> FastAPI:
    """The service of one deployment.

    Args:
        authority: does the work.
        clock: tells the time, aware and in UTC; asked once a request.
        rate: how many writes each identity may send; by default what the settings say.
        instruments: what is measured; by default something that nobody else sees.
        buckets: grants writes at that rate.
    """
    limits = authority.settings.limits
    rate = rate or Rate(limits.writes_at_once, limits.writes_each_second)
    app = FastAPI(title="Loadlock", openapi_url=None, docs_url=None, redoc_url=None, telemetry=NOT_FASTAPIS)
    problems.install(app)
    edge = Edge(authority, clock, buckets(rate), instruments or Instruments())
    edge.instruments.watch(authority, clock)
    for subject in SUBJECTS:
        subject.add_routes(app, edge)
    app.add_api_route("/v1/{rest:path}", nothing, methods=["GET", "HEAD"])
    add_console(app, edge)
    app.state.wholeness = Wholeness(authority.layout)
    tree = StaticTree(authority.layout.public, app.state.wholeness, edge.instruments)
    app.add_api_route(ROUTE, tree, methods=["GET", "HEAD"])
    return app
