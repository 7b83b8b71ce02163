"""The demo's stage: an operator, a CI, a host and a server on loopback, all below one directory that is thrown away.

Every act is a real command, run through the same door as one that is typed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadlock.cli import invoke
from verifier.errors import Unreachable, UsageError
from verifier.progress import SILENT

PATIENCE = 60.0
"""How long to wait for the server to answer, in seconds."""


class Recorder:
    """An output that keeps a command's one JSON object."""

    json = True

    def __init__(self) -> None:
        self.progress = SILENT
        self.value: dict[str, Any] = {}

    def say(self, text: str = "") -> None:
        """Sentences are not kept."""

    def result(self, value: dict[str, Any]) -> None:
        """Keep the result."""
        self.value = value


class Stage:
    """The places of the story, and the server while it runs.

    Args:
        root: an empty directory to play in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.operator = root / "operator"
        self.host = root / "host"
        self.dist = root / "dist"
        self.port = _free_port()
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    def run(self, *words: str | Path, deployment: Path | None = None) -> dict[str, Any]:
        """Run ``loadlock WORDS…`` in this process, and hand back what it printed with ``--json``.

        Raises:
            LoadlockError: what the command raised.
        """
        recorder = Recorder()
        options = ["--deployment", str(deployment)] if deployment else []
        invoke([*options, *map(str, words)], recorder)
        return recorder.value

    def start_server(self) -> None:
        """Start ``loadlock serve`` as a process of its own, and wait until it answers.

        Raises:
            Unreachable: ``unreachable.server`` when it does not in time.
        """
        log = (self.root / "server.log").open("wb")
        command = [sys.executable, "-m", "loadlock", "serve", "--port", str(self.port)]
        with log:
            self._server = subprocess.Popen(
                [*command, "--deployment", str(self.operator)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=1):  # noqa: S310 - loopback
                    return
            except OSError:
                time.sleep(0.05)
        self.stop_server()
        raise Unreachable(
            "unreachable.server",
            "the demo's server did not start",
            found=(self.root / "server.log").read_text(errors="replace")[-500:],
        )

    def stop_server(self) -> None:
        """End the server, if it runs."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=PATIENCE)
            self._server = None

    def repository(self, example: Path, name: str, replacements: dict[str, str] | None = None) -> Path:
        """A git repository of one commit with a copy of ``example``, some words replaced in contents and names."""
        source = self.root / "src" / name
        shutil.copytree(example, source, ignore=shutil.ignore_patterns("__pycache__", ".*", "dist"))
        for old, new in (replacements or {}).items():
            _replace(source, old, new)
        author = ("-c", "user.name=Example", "-c", "user.email=author@example.org", "-c", "commit.gpgsign=false")
        for words in (("init", "-q"), ("add", "."), (*author, "commit", "-q", "-m", "First release")):
            _git(source, words)
        return source


def example_plugin() -> Path:
    """The example plugin's source: beside the packages in a checkout, inside this package when installed.

    Raises:
        UsageError: ``usage.configuration`` when neither is there.
    """
    here = Path(__file__).resolve().parent
    for candidate in (here.parent / "examples" / "csv-exporter", here / "example"):
        if (candidate / "pyproject.toml").is_file():
            return candidate
    raise UsageError("usage.configuration", "the example plugin is not installed", expected="examples/csv-exporter")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _replace(source: Path, old: str, new: str) -> None:
    for path in sorted(source.rglob("*"), reverse=True):
        if path.is_file():
            path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        if old in path.name:
            path.rename(path.with_name(path.name.replace(old, new)))


def _git(directory: Path, words: Sequence[str]) -> None:
    # A person's own configuration (hooks, signing, templates) has no business in the story.
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
    try:
        subprocess.run(["git", *words], cwd=directory, env=environment, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            "usage.configuration", "git could not make the example's repository", found=str(error)
        ) from error
