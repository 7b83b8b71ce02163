"""A plugin that reaches for things, and somewhere to reach: what the tests of observation share."""

from __future__ import annotations

import itertools
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType

from tests.wheels import build_wheel
from verifier.importing import register
from verifier.runtime import Observed, Run, Switch, observation
from verifier.wheels.wheel import read_wheel

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SOURCE = """
import asyncio, concurrent.futures, ctypes, http.client, os, socket, subprocess, sys, threading, urllib.request

def connect(port, host="127.0.0.1"):
    socket.create_connection((host, port), timeout=5).close()

def request(port, path="/secret?token=hush"):
    connection = http.client.HTTPConnection("localhost", port, timeout=5)
    connection.request("POST", path, body="hush")
    connection.getresponse().read()
    connection.close()

def with_requests(port):
    import requests
    with requests.Session() as session:
        session.trust_env = False
        session.get(f"http://user:hush@localhost:{port}/hush?token=hush", timeout=5).close()

async def with_asyncio(port):
    _, writer = await asyncio.open_connection("localhost", port)
    writer.close()
    await writer.wait_closed()

def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()

def in_pool(function, *args):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()

def datagram(port, host="127.0.0.1"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hush", (host, port))
        sock.sendmsg([b"hush"], [], 0, (host, port))
        sock.connect((host, port))
        sock.sendmsg([b"hush"])

def to_path(path):
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
        except OSError as error:
            return type(error).__name__

def program(*argv):
    return subprocess.run(argv, check=True, capture_output=True, env={"SECRET": "hush"}).stdout

def library(name):
    return ctypes.CDLL(name)

def lookup(name):
    return socket.getaddrinfo(name, "443"), socket.gethostbyname(name)

def through(function, *args):
    return function(*args)

class Finalised:
    def __init__(self, port):
        self.port = port
    def __del__(self):
        connect(self.port)

class LyingSocket(socket.socket):
    @property
    def family(self):
        raise RuntimeError("the plugin's own property")

def lying(port):
    with LyingSocket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect((LyingText("127.0.0.1"), port))

class LyingText(str):
    def lower(self):
        raise RuntimeError("the plugin's own method")
    def __str__(self):
        return "forged.example"
    __getitem__ = __hash__ = lower
"""


class Loaded:
    """A plugin of :data:`SOURCE`, as it is registered, and its module."""

    def __init__(self, name: str) -> None:
        wheel = build_wheel({f"{name}.py": SOURCE}, name=name)
        self.registration = register(read_wheel(wheel.data, wheel.file_name), plugin_id=name)
        self.digest = self.registration.snapshot.digest
        self.module: ModuleType = self.registration.import_module(name)
        self.name = name

    def run(self, *, cap: int = 1_000) -> Run:
        """A run whose clock goes on by a second whenever it is asked."""
        return Run(
            plugin_id=self.name, artifact_digest=self.digest, switch=Switch(self.name, self.digest),
            log=observation.log_of_run(clock(), cap),
        )  # fmt: skip


class clock:  # noqa: N801 - called like the function that it is
    """Noon, and a second more each time."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def __call__(self) -> datetime:
        return NOON + timedelta(seconds=next(self._seconds))


@contextmanager
def observing() -> Iterator[None]:
    """Observe as long as it lasts, with nothing left of before."""
    observation.uninstall()
    assert observation.install(clock())
    try:
        yield
    finally:
        observation.uninstall()


class _Nothing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Take the connection, and that is all."""


class _Page(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204)
        self.end_headers()

    do_GET = do_POST = _answer  # noqa: N815 - the library's names

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(kind: type[socketserver.TCPServer], handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """A server on loopback, and its port."""
    with kind(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def tcp_server() -> Iterator[int]:
    """Takes connections on loopback."""
    with serving(socketserver.ThreadingTCPServer, _Nothing) as port:
        yield port


@contextmanager
def http_server() -> Iterator[int]:
    """Answers requests on loopback with nothing."""
    with serving(ThreadingHTTPServer, _Page) as port:
        yield port


@contextmanager
def udp_port() -> Iterator[int]:
    """A port on loopback that takes datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def seen(observed: Observed) -> set[tuple[object, ...]]:
    """What was recorded, without when and how often."""
    return {(record.event.kind, record.event.target, record.event.port) for record in observed.records}
