"""The lifespan of an asynchronous host: plugins are let in at its start and closed at its end, off the event loop.

    from verifier.hosting import Plugins
    from verifier.hosting.asgi import PluginsLifespan

    app = PluginsLifespan(app, Plugins.open)     # scope["state"]["plugins"]; request.state.plugins in Starlette

For servers that speak ASGI 3 with its lifespan protocol on an asyncio loop, such as uvicorn. Each worker opens its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from verifier.errors import LoadlockError
from verifier.hosting.plugins import Plugins

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class PluginsLifespan:
    """ASGI middleware that opens the plugins before the application starts, and closes them after it has ended.

    A refusal by the gate itself, or of a required plugin, keeps the server from starting, with the refusal's words.

    Args:
        app: the application; it need not know the lifespan protocol.
        open_plugins: opens the plugins; is called once for each worker, in a thread.
        name: under which the application finds them in ``scope["state"]``.
    """

    def __init__(self, app: App, open_plugins: Callable[[], Plugins], name: str = "plugins") -> None:
        self._app = app
        self._open = open_plugins
        self._name = name
        self._plugins: Plugins | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One connection, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        scope.setdefault("state", {})[self._name] = self._plugins
        await self._app(scope, receive, send)

    async def _live(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        import asyncio

        started = await receive()
        try:
            plugins = self._plugins = await asyncio.to_thread(self._open)
        except LoadlockError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        scope.setdefault("state", {})[self._name] = plugins
        try:
            await _Life(self._app, started, receive, send).run(scope)
        finally:
            await asyncio.to_thread(plugins.close)


class _Life:
    """The application's own part in the lifespan; or the answers in its place, where it knows of none."""

    def __init__(self, app: App, started: Message, receive: Receive, send: Send) -> None:
        self._app, self._waiting, self._receive, self._send = app, [started], receive, send
        self._answered = False

    async def run(self, scope: MutableMapping[str, Any]) -> None:
        try:
            await self._app(scope, self._next, self._answer)
        except Exception:
            if self._answered:
                raise
            # An application that does not know the protocol raises; the specification has servers go on without it.
            await self._send({"type": "lifespan.startup.complete"})
            while (await self._receive())["type"] != "lifespan.shutdown":
                pass
            await self._send({"type": "lifespan.shutdown.complete"})

    async def _next(self) -> Message:
        return self._waiting.pop() if self._waiting else await self._receive()

    async def _answer(self, message: Message) -> None:
        self._answered = True
        await self._send(message)
