"""A server of several workers on loopback, in processes of their own, as ``loadlock serve --workers`` starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import urllib3
from prometheus_client import parser

from crl_server.processes.pulse import SILENCE
from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from tests.crl_server.deployments import ACTOR, DAY, digest, made
from tests.project.tree import ROOT
from tests.waiting import until
from verifier.formats.push import Announcement
from verifier.formats.text import Name
from verifier.refreshing.push import announcements
from verifier.refreshing.transport import Stream, Transport

WORKERS = 2
PROGRAM = """
import sys
from crl_server.processes import pulse
from loadlock.cli import main
pulse.SILENCE = float(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""
"""``loadlock``, with another patience towards workers that hang."""


class Team:
    """Serves a new deployment while inside its block.

    Attributes:
        directory: the deployment's.
        address: where it is served.
        process: the parent's.
    """

    def __init__(self, directory: Path, database: str = "", settings: str = "", silence: float = SILENCE) -> None:
        self.directory, self._silence = directory, silence
        now = datetime.now(UTC).replace(microsecond=0)
        authority = made(directory, now=now, database=database)
        authority.layout.settings.write_text(settings)
        self._token = authority.create_token(Name("security"), ["revoker"], DAY, ACTOR, now)
        authority.close()
        self._streams: list[Stream] = []
        self._pool = urllib3.PoolManager(retries=False, timeout=60)

    def __enter__(self) -> Team:
        words = [sys.executable, "-c", PROGRAM, str(self._silence)]
        words += ["serve", "--port", "0", "--json", "--workers", str(WORKERS)]
        with (self.directory / "server" / "log").open("ab") as log:
            command = [*words, "--deployment", str(self.directory)]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, self.log
        self.address = str(json.loads(said)["address"])
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for stream in self._streams:
            stream.close()
        self._pool.clear()
        self.process.terminate()
        self.process.communicate(timeout=60)

    @property
    def log(self) -> str:
        return (self.directory / "server" / "log").read_text()

    def workers(self) -> set[int]:
        """The processes that serve."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(number) for number in listed.split()}

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        """Ask over a new connection: any of the workers may answer."""
        return urllib3.PoolManager(retries=False, timeout=60).request("GET", self.address + path)

    def numbers(self, name: str, labels: str = "") -> dict[str, float]:
        """A number of each worker's own, by the worker's number; summed over other labels."""
        found: dict[str, float] = {}
        for family in parser.text_string_to_metric_families(self.get("/metrics").data.decode()):
            for sample in family.samples:
                if sample.name == name and re.search(labels, json.dumps(sample.labels)):
                    worker = sample.labels.get("worker", "")
                    found[worker] = found.get(worker, 0.0) + sample.value
        return found

    def complete(self) -> None:
        """Wait until every place of the team is filled by a worker that serves."""

        def serving() -> bool:
            began = self.numbers("process_start_time_seconds")
            return len(self.workers()) == WORKERS and {int(at) for at in began.values()} == {
                int(_began(number)) for number in self.workers()
            }

        until(serving, 120)

    def streams(self) -> list[Iterator[Announcement]]:
        """Streams of which each worker holds at least one; each has told the list in force."""
        found = []

        def everywhere() -> bool:
            for _ in range(2):
                self._streams.append(Transport(self.address).stream("/v1/stream"))
                found.append(announcements(self._streams[-1]))
            counted = self.numbers("loadlock_push_streams")
            return len(counted) == WORKERS and all(counted.values())

        until(everywhere)
        for news in found:
            next(news)
        return found

    def revoke(self, label: str) -> bool:
        """Ask to revoke, as somebody who asks again under the same key; whether it was acknowledged."""
        body = json.dumps({"digests": [digest(label)], "reason": "malicious"}).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": label}
        try:
            answer = self._pool.request("POST", self.address + "/v1/revocations", body=body, headers=headers)
        except urllib3.exceptions.HTTPError:
            return False
        assert answer.status == 201, answer.data
        return True

    def kill_under_writes(self) -> None:
        """Kill each worker in turn while somebody revokes; demand that nothing acknowledged is lost or done twice."""
        ended, acknowledged = threading.Event(), []

        def write() -> None:
            number = 0
            while not ended.is_set():
                if self.revoke(f"write {number}"):
                    acknowledged.append(f"write {number}")
                    number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for victim in sorted(self.workers()):
                before = len(acknowledged)
                until(lambda before=before: len(acknowledged) > before + 2)  # type: ignore[misc]
                os.kill(victim, signal.SIGKILL)
                until(lambda victim=victim: victim not in self.workers())  # type: ignore[misc]
                self.complete()
        finally:
            ended.set()
            writer.join()
        assert len(acknowledged) > 5
        self.check_kept(acknowledged)

    def check_kept(self, labels: list[str]) -> None:
        """Demand that the list on disk verifies and names all of them, and the audit log each of them once."""
        now = datetime.now(UTC)
        authority = Authority(self.directory)
        published = authority.standing(now).revocations
        authority.verify_audit(now)
        with authority.store.read() as ledger:
            acts = [parse_entry(line) for line in ledger.audit_lines()]
        authority.close()
        assert [label for label in labels if not published.lists(digest(label))] == []
        revoked = [act.subject for act in acts if act.action == "artifact.revoke"]
        assert len(revoked) == len(set(revoked))


def _began(process: int) -> float:
    """When a process began, as its own metrics tell it."""
    ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
