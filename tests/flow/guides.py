"""The guides of people who attest, played as they are written: each command that they show is run, in their order.

A guide speaks of keys, servers and releases that its reader has; :class:`Town` has them. What a reader would put in the
place of an example's names is said beside the guide, in its test, and nothing else is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attestor.building.wheelhouse import prepare
from loadlock.stage import Stage, example_plugin
from tests.project.tree import ROOT

WHEEL = "csv_exporter-1.0.0-py3-none-any.whl"
PEOPLE = {"ci": "builder", "team-a": "owner", "security": "certifier"}
"""The principals of the policy, and the files of their keys."""


def examples(guide: str, language: str) -> list[str]:
    """The blocks of a guide in one language, in order."""
    text = (ROOT / "docs" / "guides" / guide).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Guide:
    """The commands of a guide, to be run one after the other.

    Args:
        town: where they are run.
        name: the guide's file.
        meant: what a reader puts in the place of the example's words.
        at: where; in the project by default.
    """

    def __init__(self, town: Town, name: str, meant: Mapping[str, object], at: Path | None = None) -> None:
        self.town = town
        self.meant = meant
        self._at = at or town.project
        shown = "".join(examples(name, "console")).replace("\\\n", " ")
        self._left = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]

    def play(self, begins: str, *more: str, status: int = 0, at: Path | None = None) -> str:
        """Run the next command, which begins with ``begins``, and hand back what it printed.

        Args:
            begins: how the guide's next command begins.
            more: options that stand for what cannot be here (a person at a terminal, a repository on the network).
            status: how it has to end.
            at: where, when it is elsewhere than the others.
        """
        line = self._left.pop(0)
        assert line.startswith(begins), line
        for written, meant in self.meant.items():
            line = line.replace(written, str(meant))
        return self.town.shell(" ".join([line, *more]), status=status, at=at or self._at)

    def end(self) -> None:
        """Hold that no command of the guide was left out."""
        assert self._left == []


class Town:
    """A project with one commit, people with keys, a deployment with its server, and an enrolled host.

    Args:
        root: an empty directory.
    """

    def __init__(self, root: Path) -> None:
        self.stage = Stage(root)
        self.home = root / "home"
        self.keys = self.home / "keys"
        self.keys.mkdir(parents=True)
        self.token = ""
        self.house = prepare(example_plugin() / "build-requirements.lock")
        self.project = self.stage.repository(
            example_plugin(), "csv-exporter", {'"owner": "owner"': '"owner": "team-a"'}
        )
        self.commit({".gitignore": "dist/\n"})
        stage = self.stage
        stage.run("init", stage.operator, "--id", "acme", "--profile", "demo", "--server", stage.url)
        for name, role in PEOPLE.items():
            self.principal(name, role, *(["--max-tier", "core"] if role == "certifier" else []))
        words = ("add-plugin", "csv_exporter", "--builder", "ci", "--owner", "team-a", "--certifier", "security")
        self.operate("trust", *words)
        self.token = str(self.operate("token", "create", "ci", "--role", "publisher")["token"])
        stage.start_server()
        root_of_trust = str(self.operate("trust", "policy", "--show")["root"])
        stage.run("host", "enroll", stage.url, "--root", root_of_trust, deployment=stage.host)

    def operate(self, *words: str | Path) -> dict[str, Any]:
        """A command of the operator."""
        return self.stage.run(*words, deployment=self.stage.operator)

    def principal(self, name: str, role: str, *options: str) -> None:
        """Give somebody a key, and a name in the policy."""
        if not (self.keys / f"{role}.pem").exists():
            self.stage.run("key", "new", self.keys / f"{role}.pem")
        self.operate("trust", "add-principal", name, "--public-key", self.keys / f"{role}.pem.pub", *options)

    def commit(self, files: Mapping[str, str]) -> None:
        """Commit files to the project."""
        for name, text in files.items():
            (self.project / name).write_text(text)
        author = "-c user.name=Example -c user.email=author@example.org -c commit.gpgsign=false"
        self.shell(f"git add . && git {author} commit -q -m 'The next one'")

    def replace(self, old: str, new: str, *files: str) -> None:
        """Commit files of the project in which something is called otherwise."""
        self.commit({name: (self.project / name).read_text().replace(old, new) for name in files})

    def release(self, *, certified: bool = True) -> Path:
        """The project's wheel, attested, endorsed and certified, in ``dist``."""
        dist, keys = self.project / "dist", self.keys
        shutil.rmtree(dist, ignore_errors=True)
        words = ("attest", self.project, "-o", dist, "--key", keys / "builder.pem", "--once")
        wheel = Path(str(self.stage.run(*words, "--build-wheelhouse", self.house)["wheel"]))
        self.stage.run("endorse", wheel, "--key", keys / "owner.pem", "--builder-key", keys / "builder.pem.pub")
        if certified:
            self.certify(wheel)
        return wheel

    def certify(self, wheel: Path) -> None:
        """Have security sign for it."""
        keys = self.keys
        known = ("--builder-key", keys / "builder.pem.pub", "--owner-key", keys / "owner.pem.pub")
        terms = ("--yes", "--tier", "core", "--expires", "2099-01-31")
        self.stage.run("certify", wheel, *terms, "--key", keys / "certifier.pem", *known)

    def shell(self, line: str, *, status: int = 0, at: Path | None = None) -> str:
        """Run a line in a reader's shell."""
        environ = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]), "HOME": str(self.home),
            "LC_ALL": "C.UTF-8", "LOADLOCK_TOKEN": self.token,
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-ec", line], cwd=at or self.project, env=environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr
