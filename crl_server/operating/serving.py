"""Serving a deployment: refuses to start where it must not, listens, and lets one process or a team of them answer."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import urlsplit

from crl_server.api.edge import Clock
from crl_server.export.worker import check_not_behind, exporters
from crl_server.operating.notices import note
from crl_server.processes.chores import Chores, Reminder
from crl_server.processes.process import Process
from crl_server.processes.team import Team
from crl_server.service import Authority
from crl_server.trust.signing import check_offline_keys_are_away
from verifier.errors import UsageError
from verifier.formats.enrolment import ServerUrl

BACKLOG = 1024
UNTAKEN = 30.0
"""How long, in seconds, a connection may take nothing of what was sent to it; the system ends it then. Who never reads
an answer would hold it, and its memory, for ever.
"""
DEFAULT_PORT = {"http": 80, "https": 443}


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def serve(
    authority: Authority, host: str, port: int, announce: Callable[[str], None], clock: Clock = utc_now,
    team: Team | None = None,
) -> None:  # fmt: skip
    """Serve one deployment until SIGTERM or SIGINT.

    Args:
        authority: the deployment.
        host: the address to listen on.
        port: the port; 0 for any that is free.
        announce: is told the address once connections are taken.
        clock: tells the time; a team's workers go by the machine's.
        team: the workers who serve it; None for this process alone.

    Raises:
        Refused: ``server.offline-key``, ``server.behind``, ``server.lint``, ``clock.behind``, ``trust.*``;
            ``export.behind`` when a place that is exported to holds more than this server knows.
        UsageError: ``usage.configuration`` when the address cannot be listened on or an export cannot be set up;
            ``usage.extra``.
        Unreachable: ``io.failed``; ``server.workers`` when workers end again and again.
    """
    policy = authority.repository.trust().policy
    check_offline_keys_are_away(authority.layout.offline, policy.profile)
    places = exporters(authority, authority.settings.export)
    check_not_behind(places)
    authority.reconcile(clock())
    note(authority, clock())
    reminder = Reminder()
    reminder.tell(authority.warnings(clock()), clock())
    with closing(listen(host, port)) as listening:
        address = _address(listening)
        if team is not None:
            authority.store.close()  # each worker has connections of its own; this process needs none
            team.serve(authority.layout.root, listening, lambda: announce(address))
            return
        chores = Chores(authority, places, clock, reminder)
        process = Process(authority, clock, chores)
        process.end_when_told()
        announce(address)
        process.run(listening)


def port_of(server: ServerUrl) -> int:
    """The port that a deployment's address names."""
    parts = urlsplit(server)
    return parts.port or DEFAULT_PORT[parts.scheme]


def _address(listening: socket.socket) -> str:
    address = listening.getsockname()
    return f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections, each of which ends when nothing of what is sent to it is taken for long.

    Raises:
        UsageError: ``usage.configuration``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise UsageError(
            "usage.configuration", f"cannot listen on {host} port {port}", found=str(error), expected="a free port"
        ) from error
    if sys.platform == "linux":  # RFC 5482; accepted connections have it of the socket that they came by
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNTAKEN * 1000))
    return listening
