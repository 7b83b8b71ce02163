"""The service with the habits of its shipped unit (``UMask``), and a web server of another user that reads its tree."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from crl_server.storage.backup import back_up, restore
from tests.crl_server.console.world import World
from tests.crl_server.deployments import ACTOR, NOW
from tests.project.tree import ROOT

UNIT = ROOT / "deploy" / "systemd" / "loadlock.service"
FOLDERS = {
    "", "lists", "lists/bases", "lists/rules", "lists/segments", "records", "releases", "sets", "trust",
    "trust/metadata", "trust/targets", "trust/targets/checkpoints",
}  # fmt: skip
PRIVATE = ("online", "server")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A deployment with all kinds of files, made and served as the unit has it."""
    found = re.search(r"^UMask=(\d+)$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert found is not None
    before = os.umask(int(found[1], 8))
    try:
        new = World(tmp_path_factory.mktemp("habits") / "acme", "http://127.0.0.1:8600")
        yield new
        new.close()
    finally:
        os.umask(before)


def closed(root: Path) -> list[str]:
    """What somebody else cannot read of a deployment's public tree, of which all folders are there."""
    public = root / "public"
    below = [public, *public.rglob("*")]
    assert {path.relative_to(public).as_posix().removeprefix(".") for path in below if path.is_dir()} == FOLDERS
    wanted = {path: 0o555 if path.is_dir() else 0o444 for path in below} | {root: 0o555}
    return [str(path) for path, mode in wanted.items() if path.stat().st_mode & mode != mode]


def test_another_user_reads_the_whole_tree_and_nothing_else(world: World) -> None:
    """What it cannot read, no host gets: not even the segment of the first revocation."""
    root = world.authority.layout.root
    assert closed(root) == []
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in PRIVATE] == [0o700, 0o700]


def test_so_it_is_after_a_restoration(world: World, tmp_path: Path) -> None:
    back_up(world.authority.layout, tmp_path / "backup", NOW)
    restore(tmp_path / "backup", tmp_path / "again", ACTOR, NOW)
    assert closed(tmp_path / "again") == []
    assert [stat.S_IMODE((tmp_path / "again" / name).stat().st_mode) for name in PRIVATE] == [0o700, 0o700]
