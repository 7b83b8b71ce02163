"""The push stream: how long until everybody has heard of a revocation, and what a listener costs the server.

    .venv/bin/python -m benchmarks.push [--streams 5000] [--hosts 1000] [--rounds 5] [--write]

*streams*: idle connections to a real server in a process of its own; a revocation through the API, its answer, and from
then on the time until each connection has the event. Side by side with it, in turns, the same server code behind
FastAPI's ``StreamingResponse`` with a queue for each connection, which is what one would write without a hub of one's
own. Processor time is the server's, from the request to the last event, less that of a revocation to which nobody
listens.

*hosts*: simulated hosts with a directory of their own, each following the stream; a host counts as refusing when what
runs in it would be judged by the list that names the digest. They all run in one process, on the machine that serves,
one after the other: what a thousand machines do at once is done here by one core. Each then writes the list down, which
is left until all have judged: a thousand machines have a thousand disks, and not the one that the server waits for.

Everything talks to loopback alone. ``--write`` replaces ``benchmarks/results/push.md``.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import statistics
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import urllib3

from benchmarks.listeners import Streams
from benchmarks.pages import options, show
from benchmarks.push_servers import SERVERS, processor_seconds, resident_bytes, serving
from crl_server.layout import Deployment
from crl_server.service import Authority
from crl_server.trust.initialise import Plan, initialise
from verifier.deployment.ground import open_ground
from verifier.deployment.home import Home
from verifier.formats.enrolment import ServerUrl
from verifier.formats.push import Announcement, parse_announcement
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Hex, Name, Time, Version
from verifier.refreshing.refresh import Refresher, enroll
from verifier.revocation.revocation_list import RevocationList

SETTLE: Final = 0.5
"""Seconds of silence before each round."""


class Round(NamedTuple):
    """One revocation: milliseconds of the call, seconds from its answer to each arrival, server's processor seconds."""

    call_ms: float
    arrivals: list[float]
    processor: float


# -- the deployment ----------------------------------------------------------------------------------------------------


class Site:
    """A deployment with a revoker's token."""

    def __init__(self, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.directory = directory / "acme"
        self.address = f"http://127.0.0.1:{self.port}"
        now = datetime.now(UTC)
        record = Deployment(v=1, deployment=Name("acme"), server=ServerUrl(self.address), created=Time.of(now))
        initialise(self.directory, Plan(record, "demo", Version("1.0")), "local:benchmark", now)
        authority = Authority(self.directory)
        self.token = authority.create_token(Name("bench"), ["revoker"], timedelta(days=1), "local:benchmark", now)
        self.root = f"sha256:{sha256_hex(authority.repository.root(1))}"
        authority.close()
        self._count = 0
        self._pool = urllib3.PoolManager()

    def revoke(self) -> tuple[Hex, float, float]:
        """Revoke something new: its digest, the call's milliseconds, and the moment of the answer."""
        self._count += 1
        digest = sha256_hex(b"%d" % self._count)
        body = json.dumps({"digests": [f"sha256:{digest}"], "reason": "malicious"})
        began = time.perf_counter()
        answer = self._pool.request(
            "POST", f"{self.address}/v1/revocations", body=body, headers={"Authorization": f"Bearer {self.token}"}
        )
        answered = time.perf_counter()
        if answer.status != 201:
            raise SystemExit(f"the server said {answer.status}: {answer.data!r}")
        return digest, (answered - began) * 1000, answered


def processor_of_a_call(site: Site, pid: int, calls: int = 10) -> float:
    """What a revocation takes of the server when nobody listens."""
    site.revoke()
    used = processor_seconds(pid)
    for _ in range(calls):
        site.revoke()
    return (processor_seconds(pid) - used) / calls


# -- streams -----------------------------------------------------------------------------------------------------------


def measure_streams(site: Site, kind: str, count: int, rounds: int) -> tuple[list[Round], float]:
    """Rounds over ``count`` connections, and the resident bytes that each costs the server."""
    arrivals: list[float] = []
    heard = threading.Semaphore(0)

    def hear(_: int, __: bytes) -> None:
        arrivals.append(time.perf_counter())
        heard.release()

    results = []
    with serving(kind, site.directory, site.port) as pid:
        alone = processor_of_a_call(site, pid)
        before = resident_bytes(pid)
        with Streams(site.port, SERVERS[kind][1], count, hear):
            each = (resident_bytes(pid) - before) / count
            for _ in range(rounds):
                time.sleep(SETTLE)
                arrivals.clear()
                used = processor_seconds(pid)
                _, call, answered = site.revoke()
                for _ in range(count):
                    if not heard.acquire(timeout=60):
                        raise SystemExit("an event was lost")
                results.append(Round(call, [at - answered for at in arrivals], processor_seconds(pid) - used - alone))
    return results, each


# -- hosts -------------------------------------------------------------------------------------------------------------


def measure_hosts(site: Site, scratch: Path, count: int, rounds: int) -> list[Round]:
    """Rounds over ``count`` hosts, each with a directory of its own."""
    results = []
    with serving("hub", site.directory, site.port) as pid:
        alone = processor_of_a_call(site, pid)
        enroll(site.address, site.root, scratch / "first")
        Refresher(Home(scratch / "first")).refresh(datetime.now(UTC), trust=True)
        for number in range(count):
            shutil.copytree(scratch / "first", scratch / f"{number}")
        hosts = [Refresher(Home(scratch / f"{number}")) for number in range(count)]
        for host in hosts:
            host.refresh(datetime.now(UTC), trust=True)
        grounds = [open_ground(host.home, datetime.now(UTC)) for host in hosts]
        refusing: list[tuple[float, RevocationList]] = []
        heard: list[tuple[int, Announcement]] = []
        judged = threading.Semaphore(0)
        with ThreadPoolExecutor(1) as judging:

            def judge(number: int, data: bytes) -> None:
                announcement, now = parse_announcement(data), datetime.now(UTC)
                grounds[number] = hosts[number].ahead(grounds[number], now, announcement)
                refusing.append((time.perf_counter(), grounds[number].revocations))
                heard.append((number, announcement))
                judged.release()

            def hear(number: int, data: bytes) -> None:
                judging.submit(judge, number, data).add_done_callback(fail_loudly)

            with Streams(site.port, "/v1/stream", count, hear):
                for _ in range(rounds):
                    time.sleep(SETTLE)
                    refusing.clear()
                    heard.clear()
                    used = processor_seconds(pid)
                    digest, call, answered = site.revoke()
                    for _ in range(count):
                        if not judged.acquire(timeout=120):
                            raise SystemExit("a host did not hear of it")
                    processor = processor_seconds(pid) - used - alone
                    for number, announcement in heard:
                        hosts[number].refresh(datetime.now(UTC), trust=False, offer=announcement)
                    if not all(revocations.lists(digest) for _, revocations in refusing):
                        raise SystemExit("a host would not have refused")
                    arrivals = [at - answered for at, _ in refusing]
                    results.append(Round(call, arrivals, processor))
    return results


# -- the report --------------------------------------------------------------------------------------------------------


def fail_loudly(done: Future[None]) -> None:
    """End the benchmark where a thread of it failed."""
    if done.exception() is not None:
        sys.stderr.write(f"{done.exception()!r}\n")
        os._exit(1)


def _at(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def row(name: str, count: int, rounds: list[Round], each: float | None) -> str:
    """One line of the table: medians over the rounds."""
    middle = [statistics.median(values) for values in zip(
        *((one.call_ms, _at(one.arrivals, 0.5) * 1000, _at(one.arrivals, 0.99) * 1000, max(one.arrivals) * 1000,
           one.processor / count * 1e6) for one in rounds), strict=True)]  # fmt: skip
    memory = "–" if each is None else f"{each / 1024:.1f}"  # noqa: RUF001
    return f"| {name} | {count:,} | " + " | ".join(f"{value:.1f}" for value in middle) + f" | {memory} |"


def report(rows: list[str], load: tuple[float, ...]) -> str:
    """The whole result page."""
    return "\n".join(
        [
            "# The push stream",
            "",
            "    .venv/bin/python -m benchmarks.push --write",
            "",
            f"Python {platform.python_version()}, Linux {platform.release().partition('-')[0]}, {platform.machine()}, "
            f"{os.cpu_count()} cores that also ran the listeners; load average {load[0]:.1f} before. "
            "Medians over the rounds; times begin with the API's answer.",
            "",
            "| what | listeners | revoke call ms | half have it after ms | 99 % ms | all ms "
            "| server's processor µs each | resident KiB each |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Measure, and print or write the result."""
    parser = options("push", "How long until everybody has heard of a revocation.")
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    load, rows = os.getloadavg(), []
    with TemporaryDirectory(prefix="loadlock-benchmark-") as name:
        scratch = Path(name)
        for kind in SERVERS:
            (scratch / kind).mkdir()
            rounds, each = measure_streams(Site(scratch / kind), kind, arguments.streams, arguments.rounds)
            rows.append(row(kind, arguments.streams, rounds, each))
        (scratch / "hosts").mkdir()
        rounds = measure_hosts(Site(scratch / "hosts"), scratch / "hosts", arguments.hosts, arguments.rounds)
        rows.append(row("hosts that refuse", arguments.hosts, rounds, None))
    page = report(rows, load)
    show("push", page, keep=arguments.write)


if __name__ == "__main__":
    main()
