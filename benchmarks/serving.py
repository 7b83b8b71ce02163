"""Heads served by one process of ``loadlock serve``, beside one worker of nginx that serves the same file.

    .venv/bin/python -m benchmarks.serving [--rounds N] [--write]

Needs ``nginx`` and ``wrk`` (Debian's packages). Plain HTTP on loopback, 32 connections that are kept, for three seconds
each, in turn. *whole* asks for the head; *unchanged* asks on the condition that it has another entity tag than the one
that the same server gave for it. wrk runs on the same machine and takes its share of it on both sides.
``--write`` replaces ``benchmarks/results/serving.md``.
"""

from __future__ import annotations

import argparse
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
from typing import Final

import urllib3

from tests.crl_server.deployments import made, revoke
from tests.waiting import free_port

RESULTS: Final = Path(__file__).with_name("results") / "serving.md"
HEAD: Final = "/lists/head.json"
SECONDS: Final = 3
CONNECTIONS: Final = 32
AIM: Final = 0.5
REQUESTS: Final = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
NGINX: Final = """\
{user}daemon off;
worker_processes 1;
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


def main(words: Sequence[str]) -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description="heads served, beside nginx")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"replace {RESULTS.name}")
    args = parser.parse_args(words)
    with TemporaryDirectory() as folder, ExitStack() as stack:
        now = datetime.now(UTC).replace(microsecond=0)
        with closing(made(Path(folder) / "acme", now=now)) as authority:
            revoke(authority, "first", now=now)
        servers = {
            "loadlock serve": stack.enter_context(serving(Path(folder) / "acme")),
            "nginx": stack.enter_context(nginx(Path(folder), Path(folder) / "acme" / "public")),
        }
        page = report(args.rounds, measured(servers, args.rounds))
    sys.stdout.write(page)
    if args.write:
        RESULTS.write_text(page, encoding="utf-8")


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """The service's address, while it runs."""
    command = [sys.executable, "-m", "loadlock", "serve", "--port", "0", "--json", "--deployment", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["address"] if process.stdout else ""
        finally:
            process.terminate()


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[str]:
    """The address of an nginx over the same directory, while it runs."""
    port, user = free_port(), "user root;\n" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(user=user, folder=folder, port=port, root=root))
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin") or "nginx"
    with subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def measured(servers: dict[str, str], rounds: int) -> dict[tuple[str, str], float]:
    """Requests a second: the medians over the rounds, by server and question."""
    pool = urllib3.PoolManager(retries=urllib3.Retry(connect=50, backoff_factor=0.02))
    tags = {name: pool.request("GET", f"{address}{HEAD}").headers["ETag"] for name, address in servers.items()}
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for question in ("whole", "unchanged"):
            for name, address in servers.items():
                headers = ["-H", f"If-None-Match: {tags[name]}"] if question == "unchanged" else []
                found.setdefault((name, question), []).append(asked(f"{address}{HEAD}", headers))
    return {key: statistics.median(values) for key, values in found.items()}


def asked(url: str, headers: list[str]) -> float:
    """Requests a second, as wrk counts them."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", *headers, url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = REQUESTS.search(told)
    if rate is None or "Non-2xx" in told:
        raise RuntimeError(told)
    return float(rate[1])


def report(rounds: int, found: dict[tuple[str, str], float]) -> str:
    """The page."""
    lines = [
        "# Heads served", "", "    .venv/bin/python -m benchmarks.serving --write", "",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores, load"
        f" average {os.getloadavg()[0]:.1f} at the end; medians of {rounds} rounds of {SECONDS} s, in turn.", "",
        "| question | loadlock serve, a second | nginx, a second | ratio |", "|---|---|---|---|",
    ]  # fmt: skip
    told = []
    for question in ("whole", "unchanged"):
        ours, beside = found["loadlock serve", question], found["nginx", question]
        lines.append(f"| {question} | {ours:,.0f} | {beside:,.0f} | {ours / beside:.3f} |")
        told.append(f"{question} {'met' if ours >= AIM * beside else 'missed'}")
    return "\n".join([*lines, "", f"Aim: at least {AIM} of nginx: {', '.join(told)}.", ""])


if __name__ == "__main__":
    main(sys.argv[1:])
