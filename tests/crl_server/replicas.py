"""Several servers of one deployment: directories of their own, one database, real processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from crl_server.service import Authority
from tests.project.tree import ROOT
from verifier.formats.push import Announcement
from verifier.formats.text import Digest
from verifier.refreshing.push import announcements
from verifier.refreshing.transport import Transport
from verifier.revocation.revocations import open_list

SERVE = """
import sys
from pathlib import Path
from crl_server.service import Authority
from crl_server.operating.serving import serve

authority = Authority(Path(sys.argv[1]))
serve(authority, "127.0.0.1", 0, lambda address: print(address, flush=True))
authority.close()
"""
PATIENCE = 20.0


def replica_of(authority: Authority, directory: Path) -> Path:
    """A directory for another server of a deployment, as docs/guides/operate.md makes one."""
    shutil.copytree(authority.layout.root, directory, ignore=shutil.ignore_patterns("public", "offline", "principals"))
    return directory


def until(true: Callable[[], bool]) -> None:
    """Wait until something has come true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def listed(directory: Path, digest: Digest) -> bool:
    """Whether the list in a server's public tree verifies, and names a digest; it is read as hosts read it."""
    from datetime import UTC, datetime

    from crl_server.layout import Layout
    from crl_server.trust.repository import Repository

    layout = Layout(directory)
    found = open_list(
        layout.head.read_bytes(),
        lambda kind, name: layout.list_file(kind, name).read_bytes(),
        Repository(layout.trust).trust(),
        datetime.now(UTC),
    )
    return found.lists(digest)


class Replica:
    """One server's process.

    Attributes:
        address: where it serves.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        command = [sys.executable, "-c", SERVE, str(directory)]
        self._log = (directory / "server" / "log").open("ab")
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, self.log
        self._pool = urllib3.PoolManager(retries=False, timeout=60)

    @property
    def log(self) -> str:
        return (self.directory / "server" / "log").read_text()

    def revoke(self, token: str, digest: Digest, key: str = "") -> int:
        """Ask it to revoke; returns the status, 0 when it does not answer."""
        body = json.dumps({"digests": [digest], "reason": "malicious"}).encode()
        headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
        try:
            return self._pool.request("POST", self.address + "/v1/revocations", body=body, headers=headers).status
        except urllib3.exceptions.HTTPError:
            return 0

    @contextmanager
    def stream(self) -> Iterator[Iterator[Announcement]]:
        """Listen to what it pushes."""
        stream = Transport(self.address).stream("/v1/stream")
        try:
            yield announcements(stream)
        finally:
            stream.close()

    def kill(self) -> None:
        self.process.kill()
        self._ended()

    def end(self) -> int:
        self.process.terminate()
        return self._ended()

    def _ended(self) -> int:
        self._pool.clear()
        status = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
        return status
