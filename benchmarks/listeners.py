"""Many listeners of a push stream, in one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


class Streams:
    """Many idle connections, read by one event loop in a thread of this process."""

    def __init__(self, port: int, path: str, count: int, hear: Callable[[int, bytes], None]) -> None:
        self._port, self._path, self._count, self._hear = port, path, count, hear
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._tasks: list[asyncio.Task[None]] = []

    def __enter__(self) -> Streams:
        self._thread.start()
        if not self._ready.wait(120):
            raise SystemExit("the connections could not be opened")
        return self

    def __exit__(self, *_: object) -> None:
        def end() -> None:
            for task in self._tasks:
                task.cancel()

        self._loop.call_soon_threadsafe(end)
        self._thread.join(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        first = asyncio.Semaphore(0)
        gate = asyncio.Semaphore(100)
        self._tasks = [asyncio.create_task(self._follow(number, gate, first)) for number in range(self._count)]
        for _ in range(self._count):
            await first.acquire()
        self._ready.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, number: int, gate: asyncio.Semaphore, first: asyncio.Semaphore) -> None:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=4 * 1024 * 1024)
            writer.write(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await _event(reader)
        first.release()
        try:
            while True:
                self._hear(number, await _event(reader))
        finally:
            writer.close()


async def _event(reader: asyncio.StreamReader) -> bytes:
    """The data of the next event."""
    while not (line := await reader.readline()).startswith(b"data:"):
        if not line:
            raise ConnectionError("the stream ended")
    return line[5:].strip()
