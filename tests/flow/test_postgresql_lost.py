"""The runbook of a lost PostgreSQL, played with PostgreSQL's own programs and real hosts."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crl_server.service import Authority
from crl_server.storage.databases import database_url
from tests import postgresql
from tests.crl_server.copies import read_copy
from tests.crl_server.deployments import ACTOR, DAY, digest, revoke
from tests.crl_server.engines import databases
from tests.crl_server.rollbacks import lose
from tests.crl_server.rotated import world
from tests.crl_server.takebacks import add_rule
from tests.crl_server.test_cli import refused, run
from tests.flow.test_runbooks import POSTGRESQL, Played, commands
from tests.hosts import code_of
from verifier.formats.text import Name

PAGE = "postgresql-lost.md"


class OnPostgresql(Played):
    """A deployment on PostgreSQL, which has one export."""

    @property
    def root(self) -> Path:
        return self.acme.authority.layout.root

    def prepare(self) -> str:
        """Everything of before the dump; returns a token."""
        for name in ("backups", "media", "mnt"):
            (self.place / name).mkdir()
        self.mirror = self.place / "mnt" / "mirror"
        self.root.joinpath("server", "settings.toml").write_text(
            f'[[export]]\nname = "mirror"\ndirectory = "{self.mirror}"\n'
        )
        self.url = database_url(self.acme.authority.layout)
        revoke(self.acme.authority, "early", now=self.acme.now)
        return self.acme.authority.create_token(Name("ann"), ["revoker"], DAY, ACTOR, self.acme.now)

    def play_page(self, lines: list[str]) -> None:
        """Play commands of Loadlock and of PostgreSQL as they stand there."""
        for line in lines:
            program, *words = shlex.split(line)
            if program not in POSTGRESQL:
                self.play([line])
                continue
            words = [word.replace("$LOADLOCK_DATABASE_URL", self.url) for word in words]
            words = [word.replace("/backups/", f"{self.place}/backups/") for word in words]
            words[-1] = postgresql.name_of(self.url) if words[-1] == "loadlock" else words[-1]
            postgresql.shared().tool(program, *words)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnPostgresql]:
    monkeypatch.setattr(databases, "engine", "postgresql")
    with world(tmp_path) as acme:
        monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(acme.authority.layout.root))
        yield OnPostgresql(acme, tmp_path)


def lost(played: OnPostgresql, *, machine: bool) -> None:
    played.acme.authority.close()
    lose(played.acme.authority.layout)
    if machine:
        shutil.rmtree(played.root)


def check_nothing_is_published(played: OnPostgresql, code: str) -> None:
    """Neither a command nor a server publishes anything."""
    head = played.acme.authority.layout.head.read_bytes()
    assert refused("revoke", digest("early"), "--reason", "malicious").code == code
    assert refused("revoke", digest("too soon"), "--reason", "malicious").code == code
    assert refused("serve", "--port", "0").code == ("export.behind" if code == "server.restored" else code)
    assert played.acme.authority.layout.head.read_bytes() == head


@pytest.mark.parametrize("order", [(2, 3, 4), (4, 2, 3), (2, 4)])
def test_the_machine_and_the_database_are_gone(played: OnPostgresql, order: tuple[int, ...]) -> None:
    """The dump comes back before the directory, as the page has it; or after it; or not at all."""
    acme, lines, dumped = played.acme, commands(PAGE), 3 in order
    token = played.prepare()
    played.play_page(lines[:2])
    host, more = acme.host("a"), acme.host("more")
    revoke(acme.authority, "late", "later", now=acme.now)
    add_rule(acme.authority, "team-b", now=acme.now)
    host.sync()
    run("export")
    revoke(acme.authority, "lost", now=acme.now)
    more.sync()
    lost(played, machine=True)

    played.play_page([lines[place] for place in order])
    if dumped:
        check_nothing_is_published(played, "server.restored")
    else:
        assert refused("revoke", digest("x"), "--reason", "malicious").code == "usage.configuration"
    played.play_page(lines[5:])
    assert len(lines) == 6
    found = host.sync().revocations
    assert [found.lists(digest(label)) for label in ("early", "late", "later", "lost")] == [True, True, True, False]
    assert [rule.id for rule in found.rules.rules] == ["R1"]

    again = Authority(played.root)
    again.reconcile(acme.now)
    again.verify_audit(acme.now)
    if dumped:
        assert again.identify(token, acme.now).actor == "token:ann"
        with again.store.read() as ledger:
            assert [reason.reason for reason in ledger.reasons(digest("early"))] == ["malicious"]
    revoke(again, "after", now=acme.now)
    again.close()
    assert host.sync().revocations.lists(digest("after"))
    run("export")
    assert read_copy(played.mirror, acme.now).lists(digest("after"))

    assert code_of(more.sync) == "list.fork"
    played.play(commands("database-lost.md")[2:])
    assert [more.sync().revocations.lists(digest(label)) for label in ("late", "lost", "after")] == [True, False, True]


def test_the_database_alone_is_set_back(played: OnPostgresql, tmp_path: Path) -> None:
    acme, lines = played.acme, commands(PAGE)
    played.prepare()
    played.play_page(lines[:2])
    second = tmp_path / "second"
    shutil.copytree(played.root, second, ignore=shutil.ignore_patterns("public", "offline"))
    Authority(second).close()
    host = acme.host("a")
    revoke(acme.authority, "late", now=acme.now)
    host.sync()
    lost(played, machine=False)
    played.play_page(lines[2:4])
    check_nothing_is_published(played, "server.behind")
    played.play_page([lines[5].replace("/mnt/mirror", "/srv/loadlock/public")])
    assert host.sync().revocations.lists(digest("late"))
    replica = Authority(second)
    replica.reconcile(acme.now)
    revoke(replica, "on the second", now=acme.now)
    replica.close()
    Authority(played.root).close()
    assert [host.sync().revocations.lists(digest(label)) for label in ("late", "on the second")] == [True, True]


def test_a_backup_that_is_opened_beside_a_database_that_lives_stops_publishing(
    played: OnPostgresql, tmp_path: Path
) -> None:
    acme = played.acme
    played.prepare()
    run("backup", tmp_path / "backup")
    revoke(acme.authority, "late", now=acme.now)
    host = acme.host("a")
    host.sync()
    run("restore", tmp_path / "backup", tmp_path / "elsewhere")
    revoke(acme.authority, "before it is opened", now=acme.now)
    Authority(tmp_path / "elsewhere").close()
    assert code_of(lambda: revoke(acme.authority, "x", now=acme.now)) == "server.restored"
    run("recover", "--from", played.root / "public")
    revoke(acme.authority, "goes on", now=acme.now)
    found = host.sync().revocations
    assert all(found.lists(digest(label)) for label in ("early", "late", "before it is opened", "goes on"))
