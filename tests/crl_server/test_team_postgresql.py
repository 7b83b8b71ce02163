"""Several workers of one directory on PostgreSQL: as on the embedded database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgresql
from tests.crl_server.deployments import digest
from tests.crl_server.teams import WORKERS, Team
from tests.waiting import until


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with Team(tmp_path_factory.mktemp("team") / "acme", postgresql.shared().new_database()) as team:
        yield team


def test_what_one_worker_publishes_is_pushed_by_all(team: Team) -> None:
    streams = team.streams()
    assert team.revoke("pushed")
    for news in streams:
        assert bytes.fromhex(digest("pushed").hex)[:16] in next(news).segment


def test_a_killed_worker_loses_nothing_and_comes_back(team: Team) -> None:
    team.kill_under_writes()
    assert team.log.count("is started again") == WORKERS


def test_workers_do_not_outlive_their_parent(team: Team) -> None:
    streams, workers = team.streams(), team.workers()
    team.process.kill()
    until(lambda: not [number for number in workers if _alive(number)])
    assert [list(news) for news in streams] == [[]] * len(streams)


def _alive(process: int) -> bool:
    """Whether a process runs; one that nobody waits for stays on as an entry."""
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
