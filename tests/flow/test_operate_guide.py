"""The operator's guide does not lie: its commands are run as they stand and in their order, on one deployment."""

from __future__ import annotations

import re
import shlex
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crl_server.service import Authority
from tests.crl_server.deployments import HOUR, digest
from tests.crl_server.live import Live
from tests.crl_server.receivers import Receiver
from tests.crl_server.takebacks import admit, subject
from tests.crl_server.test_cli import refused, run
from tests.crl_server.test_hosts import claim
from tests.project.tree import ROOT
from verifier.clock import utc_now

GUIDE = (ROOT / "docs" / "guides" / "operate.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.M | re.S) for line in block.splitlines()]
ELSEWHERE = {"createuser", "createdb", "LOADLOCK_DATABASE_URL=postgresql://loadlock:…@db.example/loadlock", "rsync"}
"""How replicas come to be: tests/crl_server/replicas.py makes them in this way, on a real PostgreSQL."""


class Operator:
    """Whoever follows the guide; what it calls /srv, /media and /backups lies below one directory.

    Attributes:
        meant: what stands for an example's words.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.meant: dict[str, object] = {}
        self._left = list(LINES)
        self.keys = place / "media" / "policy-key"

    def next(self, begins: str) -> dict[str, Any]:
        """Run the guide's next line, which begins with ``begins``."""
        return run(*self.words(begins))

    def words(self, begins: str) -> list[str]:
        """The guide's next line, as its reader types it."""
        while shlex.split(self._left[0])[0] in ELSEWHERE:
            self._left.pop(0)
        line = self._left.pop(0)
        assert line.startswith(f"loadlock {begins}"), line
        _, *words = shlex.split(line, comments=True)
        return [self._word(word) for word in words]

    def copy(self) -> None:
        """The guide's next line, which copies a directory."""
        program, option, source, target = shlex.split(self._left.pop(0), comments=True)
        assert (program, option) == ("cp", "-r")
        shutil.copytree(self._word(source), self._word(target))

    def end(self) -> None:
        """Hold that no line was left out."""
        assert self._left == []

    def _word(self, word: str) -> str:
        for written, meant in self.meant.items():
            word = str(meant) if word == written else word
        if word.endswith((".pem", ".pem.pub")):
            return str(self.keys / Path(word).name)
        named = word.startswith(("/srv/", "/media/", "/backups/"))
        return str(self.place / word.lstrip("/")) if named else word


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    for name in ("srv", "media/a", "media/b", "backups"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "srv" / "loadlock"))
    monkeypatch.chdir(tmp_path)
    return Operator(tmp_path)


def test_the_guide_is_played(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(operator.next("init")["root"])
    deployment = operator.place / "srv" / "loadlock"
    assert refused(*operator.words("serve --deployment")).code == "server.offline-key"
    (deployment / "offline").rename(operator.keys)
    operator.words("serve --workers")  # the workers have tests of their own
    with closing(Authority(deployment)) as authority, Live(authority) as live:
        live.now = utc_now().replace(microsecond=0)  # commands have the machine's clock
        operator.meant = {"https://loadlock.example": live.address}
        tell_others(operator)
        name_people(operator, monkeypatch)
        revoke(operator, live)
        take_back(operator, monkeypatch)
        let_pass(operator, authority)
        publish_a_checkpoint(operator, root)
        operator.next("audit log")
        operator.next("backup /backups/loadlock-2026-01-31.tar")
        operator.next("backup /backups/loadlock-2026-01-31.tar --check")
    operator.end()


def tell_others(operator: Operator) -> None:
    with Receiver() as receiver:
        operator.meant["https://hooks.example/loadlock"] = receiver.url
        operator.next("webhook add")
        operator.next("webhook test")
        assert len(receiver.heard) == 1
    assert [hook["name"] for hook in operator.next("webhook ls")["webhooks"]] == ["soc"]


def name_people(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.next("token create ci")
    monkeypatch.setenv("LOADLOCK_TOKEN", str(operator.next("token create security")["token"]))
    operator.next("token ls")
    operator.next("token revoke ci")
    for role in ("builder", "owner", "certifier"):
        run("key", "new", operator.keys / f"{role}.pem")
    for _ in range(3):
        operator.next("trust add-principal")
    operator.next("trust add-plugin")
    operator.next("trust policy")


def revoke(operator: Operator, live: Live) -> None:
    admit(live.authority, subject("a"))
    (operator.place / "csv_exporter-1.0.0-py3-none-any.whl").write_bytes(b"a wheel that was met somewhere")
    operator.meant |= {"sha256:9f86…": digest("a"), "R13": "R2"}
    operator.next("revoke sha256:9f86…")
    operator.next("revoke csv_exporter-1.0.0")
    operator.next("revoke --purl")
    operator.next("revoke --plugin")
    assert operator.next("revoke --signer")["rule"] == "R2"
    operator.next("revoke --source")
    for command in ("coverage", "ls", "running"):
        operator.next(f"hosts {command}")
    run("token", "create", "web-1", "--role", "host", "--host", "web-1")
    live.authority.hearing.take(claim("web-1"), live.now - HOUR)
    live.authority.hearing.keep()
    operator.next("token revoke")
    assert operator.next("hosts forget")["instances"] == 1


def take_back(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ("sha256:9f86…", "R13", "sha256:9f86… --from-rule"):
        operator.next(f"reinstate {words}")
    monkeypatch.setenv("LOADLOCK_TOKEN", str(run("token", "create", "second", "--role", "approver")["token"]))
    operator.meant["7"] = "1"
    operator.next("approve 7")


def let_pass(operator: Operator, authority: Authority) -> None:
    admit(authority, subject("b", signer="team-b", plugin="pdf_exporter"))
    operator.meant |= {"sha256:9f86…": digest("b"), "3": "1"}
    operator.next("waive ask")
    operator.next("waive approve")
    operator.next("waive sign")


def publish_a_checkpoint(operator: Operator, root: str) -> None:
    operator.meant = {"sha256:…": root}
    operator.next("checkpoint prepare")
    assert operator.next("checkpoint sign")["signatures"] == 0
    operator.next("checkpoint sign")
    operator.copy()
    assert operator.next("checkpoint sign")["signatures"] == 2
    assert operator.next("checkpoint publish")["epoch"] == 2
