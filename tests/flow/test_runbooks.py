"""The runbooks do not lie: commands take their arguments, codes are registered, and the main pages are played."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from crl_server.export.exporter import Exporter
from crl_server.export.places import Directory
from crl_server.records.audit import Action
from crl_server.service import Authority
from loadlock import cli
from tests.crl_server.deployments import DAY, digest, revoke
from tests.crl_server.rotated import World, world
from tests.crl_server.test_cli import run
from tests.project.tree import ROOT
from verifier.codes import CODES
from verifier.formats.text import Name

FOLDER = ROOT / "docs" / "guides" / "runbooks"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
COMMANDS = {command.name: command for _, several in cli._packages() for command in several}
POSTGRESQL = ("pg_dump", "createdb", "pg_restore")
FIRST_ROOT, OLD_KEY = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"


def commands(page: str, part: str = "") -> list[str]:
    """The commands of a page, or of the part of it that begins with a heading or a sentence."""
    text = PAGES[page][PAGES[page].index(part) :]
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in textwrap.dedent(block).splitlines() if line]


LINES = sorted({line for page in PAGES for line in commands(page)})


@pytest.mark.parametrize("line", LINES)
def test_every_command_takes_its_arguments(line: str) -> None:
    program, *words = shlex.split(line)
    if program in POSTGRESQL:
        return  # each of them is played
    assert program == "loadlock"
    name = next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--deployment")
    COMMANDS[name].configure(parser)
    parser.parse_args(words[len(name.split()) :])


def test_every_page_is_listed_and_every_code_and_action_is_known() -> None:
    listed = set(re.findall(r"\]\(([a-z-]+\.md)\)", PAGES["README.md"]))
    assert listed == set(PAGES) - {"README.md"}
    known = {*CODES, *get_args(Action)}  # errors, and what the audit log records
    families = {name.partition(".")[0] for name in known}
    for page, text in PAGES.items():
        named = {word for word in re.findall(r"`([a-z]+\.[a-z-]+)`", text) if word.partition(".")[0] in families}
        assert named - {"policy.toml"} <= known, page


class Played:
    """A deployment at which the pages are played; what they call /media and /srv lies below one directory."""

    def __init__(self, acme: World, place: Path) -> None:
        self.acme = acme
        self.place = place
        self.old = ""
        keys = place / "keys"
        keys.mkdir()
        for name in acme.keys:
            shutil.move(acme.authority.layout.offline / f"{name}.pem", keys / f"{name}.pem")
        self.keys = keys

    def play(self, lines: list[str], *, only: int | None = None) -> None:
        """Run commands as they stand there."""
        for line in lines[:only]:
            _, *words = shlex.split(line)
            run(*(self._word(word) for word in words))

    def _word(self, word: str) -> str:
        if word == FIRST_ROOT:
            return self.acme.root
        if word == OLD_KEY:
            return self.old
        if word == "met-in-the-wild.json":
            return str(self.place / word)
        if word == "/media/policy-key":
            return str(self.keys)
        if word.endswith((".pem", ".pem.pub")):
            return str(self.keys / word)
        if word == "/srv/loadlock":
            return str(self.acme.authority.layout.root)
        if word.startswith("/srv/loadlock/"):
            return str(self.acme.authority.layout.root / word.removeprefix("/srv/loadlock/"))
        return str(self.place / word.lstrip("/")) if word.startswith("/") else word


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    with world(tmp_path) as acme:
        monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(acme.authority.layout.root))
        (tmp_path / "media").mkdir()
        yield Played(acme, tmp_path)


def test_keys_renewed(played: Played, caplog: pytest.LogCaptureFixture) -> None:
    host = played.acme.host("a")
    host.sync()
    played.play(commands("keys-renewed.md", "## The root"), only=5)
    shutil.rmtree(played.place / "media" / "rotation")
    played.play(commands("keys-renewed.md", "## The head key"), only=3)
    played.play(commands("keys-renewed.md", "## What new hosts pin"))
    assert host.sync().trust.root_version == 2
    # A list that follows new trust is no list that "cannot be used".
    assert [record.message for record in caplog.records if record.name.startswith("crl_server")] == []


@pytest.mark.parametrize(
    ("page", "old"), [("root-key.md", "root-1"), ("policy-key.md", ""), ("checkpoint-key.md", "checkpoint-1")]
)
def test_an_offline_key_is_replaced(played: Played, page: str, old: str) -> None:
    host = played.acme.host("a")
    before = host.sync().trust
    played.old = played.acme.keys[old].public.id if old else ""
    if page == "policy-key.md":
        (played.keys / "targets.pem").unlink()  # it is lost
    played.play(commands(page))
    revoke(played.acme.authority, "after", now=played.acme.now)
    found = host.sync()
    assert found.revocations.lists(digest("after"))
    assert found.trust.root_version + found.trust.targets_version > before.root_version + before.targets_version


def test_the_server_was_broken_into(played: Played) -> None:
    host = played.acme.host("a")
    host.sync()
    played.play(commands("online-key-stolen.md"))
    played.play(commands("head-key-stolen.md"), only=4)
    revoke(played.acme.authority, "after", now=played.acme.now)
    found = host.sync()
    assert (found.trust.root_version, found.revocations.head.epoch) == (2, 2)
    assert found.revocations.lists(digest("after"))
    shutil.copyfile(played.acme.authority.layout.head, played.place / "met-in-the-wild.json")
    played.play(commands("head-key-stolen.md")[4:])


def test_the_database_is_lost(played: Played) -> None:
    acme, root = played.acme, played.acme.authority.layout.root
    revoke(acme.authority, "early", now=acme.now)
    (played.place / "backups").mkdir()
    run("backup", played.place / "backups" / "loadlock.tar")
    revoke(acme.authority, "late", now=acme.now)
    host, more = acme.host("a"), acme.host("more")
    host.sync()
    Exporter(acme.authority, Name("mirror"), Directory(played.place / "mnt" / "mirror"), DAY).run(acme.now)
    revoke(acme.authority, "lost", now=acme.now)
    more.sync()
    acme.authority.close()
    shutil.rmtree(root)
    lines = commands("database-lost.md")
    played.play(lines[:2])
    assert host.sync().revocations.lists(digest("late"))
    (played.place / "media").mkdir(exist_ok=True)
    played.play(lines[2:])
    assert [more.sync().revocations.lists(digest(label)) for label in ("late", "lost")] == [True, False]
    again = Authority(root)
    again.verify_audit(acme.now)
    again.close()
