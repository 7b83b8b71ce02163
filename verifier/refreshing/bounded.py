"""Answers that come in time or not at all: urllib3's connections, whose every wait is bounded, and so is their sum.

A timeout of a socket is for the next bytes alone. A server that sends the fields of its answer a byte at a time would
hold a refresh for days, and so would one that sends its body so.
"""

from __future__ import annotations

import time
from functools import partial
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from math import inf
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

CHUNK = 65_536
"""How much of a body to read at once, in bytes."""


class _UntilThen(RawIOBase):
    """What a socket receives, until a moment of the monotonic clock."""

    def __init__(self, received: Any, end: float) -> None:
        self._received = received
        self.end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self.end:
            raise TimeoutError("the answer took too long to begin")
        found: int | None = self._received.readinto(buffer)
        return found

    def fileno(self) -> int:
        number: int = self._received.fileno()
        return number

    def close(self) -> None:
        self._received.close()
        super().close()


class _Answer(HTTPResponse):
    """An answer whose status and fields, and those of a proxy before it, have come in full within ``seconds``."""

    def __init__(self, seconds: float, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self._in_time = _UntilThen(sock.makefile("rb", buffering=0), time.monotonic() + seconds)
        self.fp = BufferedReader(self._in_time)

    def begin(self) -> None:
        super().begin()
        self._in_time.end = inf


def bounded(manager: urllib3.PoolManager, seconds: float) -> None:
    """Have the answers that come by way of a manager, direct or through its proxy, begin within ``seconds``."""
    kinds: dict[str, Any] = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {
        scheme: type(kind.__name__, (kind,), {"ConnectionCls": _connections(kind.ConnectionCls, seconds)})
        for scheme, kind in kinds.items()
    }


def bounded_pool(pool: urllib3.HTTPConnectionPool, seconds: float) -> None:
    """The same for the answers of one server; before it is asked anything."""
    pool.ConnectionCls = _connections(pool.ConnectionCls, seconds)


def read_body(answer: urllib3.BaseHTTPResponse, most: int, end: float) -> bytes:
    """An answer's body as it came, or its first ``most`` bytes.

    Args:
        answer: whose body nobody has read or unpacked.
        most: how many bytes are wanted at the most.
        end: the moment of the monotonic clock at which it has to be here.

    Raises:
        TimeoutError: it was not; HTTPError, OSError as urllib3 does.
    """
    body = bytearray()
    while len(body) < most and (chunk := answer.read1(min(CHUNK, most - len(body)))):
        body += chunk
        if time.monotonic() > end:
            raise TimeoutError("the body took too long")
    return bytes(body)


def _connections(kind: Any, seconds: float) -> type[HTTPConnection | HTTPSConnection]:
    made: type = type(kind.__name__, (kind,), {"response_class": partial(_Answer, seconds)})
    return made
