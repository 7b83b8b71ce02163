"""One process that serves: API, console, files and streams over one socket, which other processes may share."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, cast

from crl_server.api.app import create_app
from crl_server.api.edge import Clock
from crl_server.api.events import Events
from crl_server.api.limits import Buckets, Rate, Writes
from crl_server.api.static import with_shelf
from crl_server.operating.instruments import Instruments
from crl_server.operating.push import Application, Hub, with_stream
from crl_server.operating.request_context import observed
from crl_server.processes.board import Board
from crl_server.processes.chores import Chores
from crl_server.processes.doorway import Doorway
from crl_server.processes.quotas import SharedBuckets
from crl_server.processes.shelf import Shelf
from crl_server.service import Authority

if TYPE_CHECKING:
    import uvicorn

GRACE = 10
"""How long, in seconds, requests that are under way may take once the server is told to end."""


class Process:
    """Serves one deployment in this process.

    Args:
        authority: the deployment.
        clock: tells the time.
        chores: what is done beside it.
        board: what the workers of a team share; None for a process that serves alone.
        started: is called once connections are taken.
        beat: is called again and again while connections are taken: ten times a second.
    """

    def __init__(
        self,
        authority: Authority,
        clock: Clock,
        chores: Chores,
        board: Board | None = None,
        started: Callable[[], None] = lambda: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        hub = Hub(authority.layout)
        instruments = Instruments(chores.exports, lambda: len(hub), chores.webhooks, lambda: chores.here, board)
        buckets: Callable[[Rate], Writes] = Buckets if board is None else partial(SharedBuckets, board.common)
        app = create_app(authority, clock, instruments=instruments, buckets=buckets)
        self._shelf = Shelf(authority.layout.public, app.state.wholeness)
        application = with_stream(observed(with_shelf(app, self._shelf), instruments), hub)
        doorway = Doorway(self._shelf, instruments)
        self._server = server_of(application, hub, app.state.events, doorway, started, beat)
        self._beside = [chores] if board is None else [chores, instruments.telling(board)]

    def end_when_told(self) -> None:
        """End on SIGTERM and SIGINT.

        Told to end before uvicorn listens to signals itself, it ends too. And uvicorn raises the signal that ended it
        once more; ended as it was told to, this process has done well.
        """
        signal.signal(signal.SIGTERM, self.end)
        signal.signal(signal.SIGINT, self.end)

    def end(self, *_: object) -> None:
        """Begin to end; from any thread."""
        self._server.should_exit = True

    def run(self, listening: socket.socket) -> None:
        """Serve until the end."""
        with ExitStack() as running:
            running.enter_context(closing(self._shelf))
            for beside in self._beside:
                running.enter_context(beside)
            self._server.run(sockets=[listening])


def server_of(
    application: Application,
    hub: Hub,
    events: Events | None = None,
    doorway: Doorway | None = None,
    started: Callable[[], None] = lambda: None,
    beat: Callable[[], None] = lambda: None,
) -> uvicorn.Server:
    """A server that ends its streams before it waits for what is under way: they never end by themselves.

    Args:
        application: what it serves.
        hub: the push streams.
        events: the streams of events.
        doorway: what answers before the application.
        started: is called once connections are taken.
        beat: is called ten times a second from then on.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

        async def on_tick(self, counter: int) -> bool:
            beat()
            return await super().on_tick(counter)

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
