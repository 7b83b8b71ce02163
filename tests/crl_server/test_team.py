"""Several workers serve one deployment: any of them answers, all of them push, any may die, and the chores go on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import crl_server.processes.team
from crl_server.processes import pulse
from crl_server.processes.board import MAX_SHEET, Board, sheet, sheets
from crl_server.processes.chores import Chores, Reminder
from crl_server.processes.pulse import LOOKED, SILENCE, STARTING, Pulses, Watch
from crl_server.processes.team import LONGEST_PAUSE, MAX_DEATHS, MAX_WORKERS, Errand, _Place, pause_after
from crl_server.processes.team import Team as Workers
from crl_server.service import Authority
from crl_server.storage.locking import exclusive_if_free
from tests.crl_server.deployments import NOW, digest, made
from tests.crl_server.teams import WORKERS, Team
from tests.crl_server.test_cli import refused
from tests.waiting import until
from verifier.errors import Unreachable
from verifier.formats import dsse
from verifier.formats.revocations import parse_head


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    settings = f'[[export]]\nname = "mirror"\ndirectory = "{folder / "mirror"}"\n'
    with Team(folder / "acme", settings=settings) as team:
        yield team


def exported(team: Team) -> int:
    head = team.directory.parent / "mirror" / "lists" / "head.json"
    if not head.is_file():
        return -1
    return parse_head(dsse.parse_envelope(head.read_bytes(), what="head").unverified_payload).seq


def test_what_one_worker_publishes_is_pushed_by_all(team: Team) -> None:
    streams = team.streams()
    assert team.revoke("pushed")
    for news in streams:
        assert bytes.fromhex(digest("pushed").hex)[:16] in next(news).segment


def test_each_worker_answers_everything(team: Team) -> None:
    def everywhere(path: str, route: str) -> bool:
        assert team.get(path).status in (200, 303)
        counted = team.numbers("loadlock_http_requests_total", f'"{route}"')
        return len(counted) == WORKERS

    for path, route in (
        ("/lists/head.json", "/{path:path}"),
        ("/readyz", "/readyz"),
        ("/v1/openapi.json", "/v1/openapi.json"),
    ):
        until(lambda path=path, route=route: everywhere(path, route))  # type: ignore[misc]


def test_what_is_done_once_is_told_of_once(team: Team) -> None:
    until(lambda: exported(team) >= 0)
    until(lambda: team.numbers("loadlock_export_passes_total"))
    assert set(team.numbers("loadlock_export_passes_total")) == {""}
    assert set(team.numbers("loadlock_list_seq")) == {""}


def test_a_killed_worker_loses_nothing_and_comes_back(team: Team) -> None:
    team.kill_under_writes()
    assert team.log.count("is started again") == WORKERS
    before = exported(team)
    assert team.revoke("after the kills")  # whoever did the chores was killed: somebody else does them now
    until(lambda: exported(team) > before)


def test_it_ends_in_time_though_streams_are_open(team: Team) -> None:
    streams, workers = team.streams(), team.workers()
    team.process.send_signal(signal.SIGTERM)
    assert team.process.wait(60) == 0
    assert not [number for number in workers if Path(f"/proc/{number}").exists()]
    for news in streams:
        assert list(news) == []
    assert "killed" not in team.log


@pytest.mark.parametrize("count", ["0", "-1", str(MAX_WORKERS + 1)])
def test_a_team_of_a_silly_size_is_refused(count: str, tmp_path: Path) -> None:
    made(tmp_path / "acme").close()
    assert (
        refused("serve", "--deployment", tmp_path / "acme", "--port", "0", "--workers", count).code == "usage.arguments"
    )


def test_a_team_that_cannot_start_says_so(tmp_path: Path) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    listening = socket.create_server(("127.0.0.1", 0))
    try:
        with pytest.raises(Unreachable) as caught:
            Workers(1).serve(tmp_path / "nothing", listening, lambda: None)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (caught.value.code, caught.value.found) == ("server.workers", "worker 1: status 1")
    assert listening.fileno() == -1


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    """It has not died: it holds connections that nobody else can answer, and the chores."""
    with Team(tmp_path / "acme", silence=5.0) as team:
        team.complete()
        before = team.workers()
        with closing(Authority(team.directory)) as authority:
            assert authority.layout.chores_lock.exists()
        hanging = min(before)
        os.kill(hanging, signal.SIGSTOP)
        assert team.revoke("meanwhile")  # by the other one
        until(lambda: hanging not in team.workers())
        team.complete()
        assert len(team.workers() & before) == WORKERS - 1, "one that does not hang was ended"
        assert "silent" in team.log
        assert team.revoke("afterwards")
        team.check_kept(["meanwhile", "afterwards"])


def test_whoever_gives_signs_of_life_is_not_silent() -> None:
    watch = Watch(7, 0.0)
    assert not any(watch.is_over(8 + number, number * LOOKED) for number in range(1000))
    last = 8 + 999
    over = [watch.is_over(last, (1000 + number) * LOOKED) for number in range(int(SILENCE / LOOKED) + 1)]
    assert over == [False] * int(SILENCE / LOOKED - 1) + [True, True]


def test_a_worker_has_longer_until_its_first_sign() -> None:
    watch = Watch(7, 0.0)
    over = [watch.is_over(7, (1 + number) * LOOKED) for number in range(int(STARTING / LOOKED))]
    assert over == [False] * int(STARTING / LOOKED - 1) + [True]


def test_nobody_was_silent_while_the_parent_stood_still_too() -> None:
    watch = Watch(0, 0.0)
    assert not watch.is_over(1, LOOKED)
    assert not watch.is_over(1, 1_000_000.0)
    assert not watch.is_over(2, 1_000_000.0 + LOOKED)


def test_each_worker_beats_for_itself() -> None:
    with sheet("pulse") as descriptor:
        here, there = Pulses(descriptor), Pulses(descriptor)
        for number in (1, MAX_WORKERS, MAX_WORKERS):
            here.beat(number)
        assert [there.count(number) for number in (1, 2, MAX_WORKERS)] == [1, 0, 2]


def test_pauses_grow_and_end() -> None:
    pauses = [pause_after(deaths) for deaths in range(1, MAX_DEATHS)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[1], pauses[-1]) == (0, 0.5, LONGEST_PAUSE)


@contextmanager
def place(directory: Path) -> Iterator[_Place]:
    """A place for a worker that is told nothing."""
    errand = Errand(
        directory=str(directory), number=1, listening=0, lifeline=0, started=0, pulse=0, sheets=[], log_format="text",
        log_level="error",
    )  # fmt: skip
    with sheet("pulse") as descriptor:
        yield _Place(errand, (), Pulses(descriptor))


def test_a_place_in_which_nobody_lives_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that end at once: of a program that does nothing but fail."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(crl_server.processes.team, "LONGEST_PAUSE", 0.0)
    with place(tmp_path) as place_:
        place_.start()
        with pytest.raises(Unreachable) as caught:
            until(place_.look)
    assert (caught.value.code, caught.value.found, place_._deaths) == (
        "server.workers",
        "worker 1: status 1",
        MAX_DEATHS,
    )


@pytest.mark.parametrize(
    ("program", "found"), [("#!/bin/sh\nexec sleep 60\n", "no sign of life"), ("", "Exec format error")]
)
def test_a_team_whose_worker_never_starts_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, found: str
) -> None:
    """It would wait for ever, and tell nobody."""
    path = tmp_path / "python"
    path.write_text(program)
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))
    monkeypatch.setattr(pulse, "STARTING", 0.2)
    with place(tmp_path) as place_:
        place_.start()
        with pytest.raises(Unreachable) as caught:
            until(place_.check_alive)
        place_.tell()
        place_.wait(time.monotonic() + 20)
    assert (caught.value.code, caught.value.found) == ("server.workers", f"worker 1: {found}")


def test_a_sheet_is_read_whole_by_the_others() -> None:
    with sheets(3) as descriptors:
        boards = [Board(descriptors, number) for number in (1, 2, 3)]
        assert boards[0].others() == {}
        boards[0].write(b"a long sheet")
        boards[0].write(b"short")
        boards[1].write(b"second")
        boards[1].write(b"x" * (MAX_SHEET + 1))
        assert [board.others() for board in boards] == [
            {2: b"second"}, {1: b"short"}, {1: b"short", 2: b"second"},
        ]  # fmt: skip
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptors[0])


def test_one_does_the_chores_and_another_takes_over(tmp_path: Path) -> None:
    made(tmp_path / "acme").close()
    with closing(Authority(tmp_path / "acme")) as first, closing(Authority(tmp_path / "acme")) as second:
        one, other = (Chores(authority, [], lambda: NOW, Reminder()) for authority in (first, second))
        with other:
            with one:
                until(lambda: one.here or other.here)
                assert not (one.here and other.here)
            until(lambda: other.here)
        assert (one.here, other.here) == (False, False)


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive_if_free(path) as first, exclusive_if_free(path) as second:
        assert (first, second) == (True, False)
    with exclusive_if_free(path) as again:
        assert again
    with pytest.raises(Unreachable), exclusive_if_free(tmp_path / "none" / "lock"):
        pass
