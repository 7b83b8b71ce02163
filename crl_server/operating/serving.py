"""The server's process: refuses to start where it must not, listens, keeps list and exports fresh, ends gracefully."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from crl_server.api.app import create_app
from crl_server.api.edge import Clock
from crl_server.api.events import Events
from crl_server.api.static import with_shelf
from crl_server.background import Background
from crl_server.doorway import Doorway
from crl_server.export.worker import ExportWorker, check_not_behind, exporters
from crl_server.lists.following import Follower
from crl_server.operating.instruments import Instruments
from crl_server.operating.notices import note
from crl_server.operating.push import Application, Hub, with_stream
from crl_server.operating.request_context import observed
from crl_server.service import Authority
from crl_server.shelf import Shelf
from crl_server.trust.signing import check_offline_keys_are_away
from crl_server.webhooks.roster import Roster
from verifier.errors import LoadlockError, UsageError
from verifier.formats.enrolment import ServerUrl

if TYPE_CHECKING:
    import uvicorn

AGAIN = timedelta(days=1)
"""How often somebody is reminded of the same thing."""
INTERVAL = 60.0
"""How often, in seconds, it is looked for what has to be signed again."""
GRACE = 10
"""How long, in seconds, requests that are under way may take once the server is told to end."""
BACKLOG = 1024
DEFAULT_PORT = {"http": 80, "https": 443}

log = logging.getLogger("crl_server")


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


def serve(authority: Authority, host: str, port: int, announce: Callable[[str], None], clock: Clock = utc_now) -> None:
    """Serve one deployment until SIGTERM or SIGINT.

    Args:
        authority: the deployment.
        host: the address to listen on.
        port: the port; 0 for any that is free.
        announce: is told the address once connections are taken.
        clock: tells the time.

    Raises:
        Refused: ``server.offline-key``, ``server.behind``, ``server.lint``, ``clock.behind``, ``trust.*``;
            ``export.behind`` when a place that is exported to holds more than this server knows.
        UsageError: ``usage.configuration`` when the address cannot be listened on or an export cannot be set up;
            ``usage.extra``.
        Unreachable: ``io.failed``.
    """
    policy = authority.repository.trust().policy
    check_offline_keys_are_away(authority.layout.offline, policy.profile)
    places = exporters(authority, authority.settings.export)
    check_not_behind(places)
    authority.reconcile(clock())
    note(authority, clock())
    reminder = Reminder()
    reminder.tell(authority.warnings(clock()), clock())
    exports = [ExportWorker(authority, found, clock) for found in places]
    listening = _listen(host, port)
    address = listening.getsockname()
    hub = Hub(authority.layout)
    webhooks = Roster(authority, clock)
    instruments = Instruments(exports, lambda: len(hub), webhooks)
    app = create_app(authority, clock, instruments=instruments)
    shelf = Shelf(authority.layout.public)
    application = with_stream(observed(with_shelf(app, shelf), instruments), hub)
    server = server_of(application, hub, app.state.events, Doorway(shelf, instruments))

    def end(*_: object) -> None:
        server.should_exit = True

    # Told to end before uvicorn listens to signals itself, it ends too. And uvicorn raises the signal that ended it
    # once more; ended as it was told to, this process has done well.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    announce(f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}")
    with ExitStack() as running:
        running.enter_context(listening)
        running.enter_context(closing(shelf))
        running.enter_context(Follower(authority.tree))
        running.enter_context(Maintenance(authority, clock, reminder))
        for export in exports:
            running.enter_context(export)
        running.enter_context(webhooks)
        server.run(sockets=[listening])
        for end_one in [*(found.end for found in exports), webhooks.end]:
            end_one()  # all at once, so that none waits for another


def server_of(
    application: Application, hub: Hub, events: Events | None = None, doorway: Doorway | None = None
) -> uvicorn.Server:
    """A server that ends its streams before it waits for what is under way: they never end by themselves.

    Args:
        application: what it serves.
        hub: the push streams.
        events: the streams of events.
        doorway: what answers before the application.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if events is not None:
                events.close()
            await hub.close()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            application,
            http="httptools" if doorway is None else cast("type[asyncio.Protocol]", doorway.protocol),
            access_log=False,
            log_config=None,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
    )


class Reminder:
    """Logs what is about to expire: when it begins to be, and once a day from then on."""

    def __init__(self) -> None:
        self._told: dict[str, datetime] = {}

    def tell(self, warnings: Sequence[str], now: datetime) -> None:
        """Log the warnings that are new, and those that were last logged a day ago."""
        self._told = {warning: told for warning, told in self._told.items() if warning in warnings}
        for warning in warnings:
            told = self._told.get(warning)
            if told is None or now - told >= AGAIN:
                self._told[warning] = now
                log.warning("%s", warning)


class Maintenance(Background):
    """A thread that signs again what is about to expire. A failure is logged, and tried again the next time.

    Args:
        authority: the deployment.
        clock: tells the time.
        reminder: tells of what is about to expire.
        interval: seconds between two looks.
    """

    def __init__(
        self, authority: Authority, clock: Clock, reminder: Reminder | None = None, interval: float = INTERVAL
    ) -> None:
        super().__init__("maintenance")
        self._authority = authority
        self._clock = clock
        self._reminder = reminder or Reminder()
        self._interval = interval

    def _run(self) -> None:
        while not self._end.wait(self._interval):
            try:
                now = self._clock()
                self._authority.maintain(now)
                note(self._authority, now)
                self._reminder.tell(self._authority.warnings(now), now)
            except LoadlockError as error:
                log.error("the list could not be kept fresh: %s", error)
            except Exception:
                # Whatever it was, the next look may succeed; hosts notice a stale list, and readyz tells.
                log.exception("the list could not be kept fresh")


def port_of(server: ServerUrl) -> int:
    """The port that a deployment's address names."""
    parts = urlsplit(server)
    return parts.port or DEFAULT_PORT[parts.scheme]


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise UsageError(
            "usage.configuration", f"cannot listen on {host} port {port}", found=str(error), expected="a free port"
        ) from error
