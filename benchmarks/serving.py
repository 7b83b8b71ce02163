"""Heads served by ``loadlock serve``, beside nginx with as many workers that serves the same file.

    .venv/bin/python -m benchmarks.serving [--rounds N] [--workers N]… [--write]

Needs ``nginx`` and ``wrk`` (Debian's packages). Plain HTTP on loopback, 32 connections that are kept, for three seconds
each, in turn. *whole* asks for the head; *unchanged* asks on the condition that it has another entity tag than the one
that the same server gave for it; *with an id* asks for the head with a header (``X-Request-Id``) that brings the
connection to uvicorn and the application's own layers. wrk runs on the same machine and takes its share of it on both
sides. ``--write`` replaces ``benchmarks/results/serving.md``.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import urllib3

from benchmarks.pages import options, show
from tests.crl_server.deployments import made, revoke
from tests.waiting import free_port

HEAD: Final = "/lists/head.json"
SECONDS: Final = 3
CONNECTIONS: Final = 32
AIM: Final = 0.5
QUESTIONS: Final = ("whole", "unchanged", "with an id")
AIMED: Final = ("whole", "unchanged")
REQUESTS: Final = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
NGINX: Final = """\
{user}daemon off;
worker_processes {workers};
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location / {{ default_type application/json; }}
    }}
}}
"""


class Case(NamedTuple):
    """What was measured: how many workers, which question, whose answer."""

    workers: int
    question: str
    server: str


def main(words: Sequence[str]) -> None:
    """Measure, print, and write the page if asked to."""
    parser = options("serving", "heads served, beside nginx")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, action="append", help="how many on each side (1, then 2)")
    args = parser.parse_args(words)
    found: dict[Case, float] = {}
    with TemporaryDirectory() as folder:
        now = datetime.now(UTC).replace(microsecond=0)
        with closing(made(Path(folder) / "acme", now=now)) as authority:
            revoke(authority, "first", now=now)
        for workers in args.workers or (1, 2):
            with ExitStack() as stack:
                servers = {
                    "loadlock serve": stack.enter_context(serving(Path(folder) / "acme", workers)),
                    "nginx": stack.enter_context(nginx(Path(folder), Path(folder) / "acme" / "public", workers)),
                }
                found |= measured(servers, workers, args.rounds)
    page = report(args.rounds, found)
    show("serving", page, keep=args.write)


@contextmanager
def serving(directory: Path, workers: int) -> Iterator[str]:
    """The service's address, while it runs."""
    command = [sys.executable, "-m", "loadlock", "serve", "--port", "0", "--json", "--workers", str(workers)]
    command += ["--deployment", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["address"] if process.stdout else ""
        finally:
            process.terminate()


@contextmanager
def nginx(folder: Path, root: Path, workers: int) -> Iterator[str]:
    """The address of an nginx over the same directory, while it runs."""
    port, user = free_port(), "user root;\n" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(user=user, workers=workers, folder=folder, port=port, root=root))
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin") or "nginx"
    with subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def measured(servers: dict[str, str], workers: int, rounds: int) -> dict[Case, float]:
    """Requests a second: the medians over the rounds, by number of workers, question and server."""
    pool = urllib3.PoolManager(retries=urllib3.Retry(connect=50, backoff_factor=0.02))
    tags = {name: pool.request("GET", f"{address}{HEAD}").headers["ETag"] for name, address in servers.items()}
    found: dict[Case, list[float]] = {}
    for _ in range(rounds):
        for question in QUESTIONS:
            for name, address in servers.items():
                header = {"unchanged": f"If-None-Match: {tags[name]}", "with an id": "X-Request-Id: a"}.get(question)
                rate = asked(f"{address}{HEAD}", ["-H", header] if header else [])
                found.setdefault(Case(workers, question, name), []).append(rate)
    return {case: statistics.median(values) for case, values in found.items()}


def asked(url: str, headers: list[str]) -> float:
    """Requests a second, as wrk counts them."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", *headers, url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = REQUESTS.search(told)
    if rate is None or "Non-2xx" in told:
        raise RuntimeError(told)
    return float(rate[1])


def report(rounds: int, found: dict[Case, float]) -> str:
    """The page."""
    lines = [
        "# Heads served", "", "    .venv/bin/python -m benchmarks.serving --write", "",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores, load"
        f" average {os.getloadavg()[0]:.1f} at the end; medians of {rounds} rounds of {SECONDS} s, in turn.", "",
        "| workers on each side | question | loadlock serve, a second | nginx, a second | ratio |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    told = []
    for workers, question in dict.fromkeys((case.workers, case.question) for case in found):
        ours, beside = (found[Case(workers, question, name)] for name in ("loadlock serve", "nginx"))
        lines.append(f"| {workers} | {question} | {ours:,.0f} | {beside:,.0f} | {ours / beside:.3f} |")
        if question in AIMED:
            told.append(f"{question} with {workers} {'met' if ours >= AIM * beside else 'missed'}")
    return "\n".join([*lines, "", f"Aim: at least {AIM} of nginx: {', '.join(told)}.", ""])


if __name__ == "__main__":
    main(sys.argv[1:])
