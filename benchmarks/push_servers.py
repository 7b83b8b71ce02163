"""The servers that :mod:`benchmarks.push` measures, each in a process of its own, and what that takes of the machine.

.venv/bin/python -m benchmarks.push_servers KIND DEPLOYMENT PORT
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from crl_server.service import Authority

TICKS: Final = os.sysconf("SC_CLK_TCK")


def serve_lean(directory: Path, port: int) -> None:
    """The server as it is."""
    from crl_server.operating.serving import serve

    serve(Authority(directory), "127.0.0.1", port, lambda _: None)


def serve_queues(directory: Path, port: int) -> None:
    """The same, with a StreamingResponse and a queue for each connection."""
    import uvicorn
    from fastapi.responses import StreamingResponse

    from crl_server.api.app import create_app
    from crl_server.operating.push import read_event

    authority = Authority(directory)
    application = create_app(authority, lambda: datetime.now(UTC))
    queues: set[asyncio.Queue[bytes]] = set()
    tasks: list[asyncio.Task[None]] = []

    async def look() -> None:
        seen = os.stat(authority.layout.head).st_ino
        while True:
            await asyncio.sleep(0.05)
            if (now := os.stat(authority.layout.head).st_ino) != seen:
                seen = now
                event = read_event(authority.layout)
                for queue in queues:
                    queue.put_nowait(event)

    async def events() -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        queues.add(queue)
        yield read_event(authority.layout)
        while True:
            yield await queue.get()

    async def stream() -> StreamingResponse:
        if not tasks:
            tasks.append(asyncio.create_task(look()))
        return StreamingResponse(events(), media_type="text/event-stream")

    application.add_api_route("/v1/queues", stream, methods=["GET"])
    application.router.routes.insert(0, application.router.routes.pop())
    uvicorn.run(application, port=port, log_level="error", access_log=False, timeout_graceful_shutdown=1)


SERVERS: Final[dict[str, tuple[Callable[[Path, int], None], str]]] = {
    "hub": (serve_lean, "/v1/stream"),
    "StreamingResponse and queues": (serve_queues, "/v1/queues"),
}


@contextmanager
def serving(kind: str, directory: Path, port: int) -> Iterator[int]:
    """A server in a process of its own, whose id this is."""
    command = [sys.executable, "-m", "benchmarks.push_servers", kind, str(directory), str(port)]
    process = subprocess.Popen(command)
    try:
        until = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"the server ({kind}) did not start") from None
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    SERVERS[sys.argv[1]][0](Path(sys.argv[2]), int(sys.argv[3]))
