"""Commands as a person types them, run one after the other by a process of their own that stays warm between them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any


class Worker:
    """The process: what it may import beside the test's own environment stands in ``path``."""

    def __init__(self, path: str = "") -> None:
        known = {name: value for name, value in os.environ.items() if not name.startswith(("LOADLOCK_", "AWS_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], env=known | {"PYTHONPATH": path}, text=True,
            cwd=Path(__file__).resolve().parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def run(self, words: list[str], place: Path, variables: Mapping[str, str]) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of one command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([words, str(place), dict(variables)]) + "\n")
        self._process.stdin.flush()
        status, said, complained = json.loads(self._process.stdout.readline())
        return status, said, complained


@dataclass(frozen=True)
class Shell:
    """A worker, the directory that commands run in, the variables that are set, and what must never be shown."""

    worker: Worker
    place: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()

    def with_(self, **variables: str) -> Shell:
        """The same with more variables set; an empty one is unset."""
        return Shell(self.worker, self.place, {**self.variables, **variables}, self.secrets)

    def raw(self, *words: str | Path) -> tuple[int, str, str]:
        """Exit status and both streams."""
        done = self.worker.run([str(word) for word in words], self.place, self.variables)
        for secret in self.secrets:
            assert secret not in done[1] + done[2]
        return done

    def run(self, *words: str | Path) -> tuple[int, dict[str, Any]]:
        """The exit status and the one JSON object."""
        status, said, complained = self.raw(*words, "--json")
        assert complained == ""
        return status, json.loads(said)

    def ok(self, *words: str | Path) -> dict[str, Any]:
        """The JSON object of a command that has to work."""
        status, document = self.run(*words)
        assert status == 0, document
        return document

    def refused(self, *words: str | Path) -> tuple[int, str, str]:
        """The exit status, the code, and all that is said."""
        status, document = self.run(*words)
        error = document["error"]
        return status, error["code"], " ".join(str(value) for value in error.values())


def _serve() -> None:
    """Run what standard input asks for, a command a line."""
    from loadlock.cli import main

    answers, before = sys.stdout, dict(os.environ)
    sys.stdin, asked = io.StringIO(), sys.stdin
    for line in asked:
        words, place, variables = json.loads(line)
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before | variables)
        said, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            status = main(words)
        answers.write(json.dumps([status, said.getvalue(), complained.getvalue()]) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
