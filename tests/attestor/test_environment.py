"""Where a build runs, and how other programs are run."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from attestor.building import apart, processes
from attestor.building.apart import Apart, with_network, without_network
from attestor.building.environment import fixed, interpreter
from tests.waiting import until


@pytest.fixture
def forgetful() -> Iterator[None]:
    """What this system can do is found out anew."""
    without_network.cache_clear()
    yield
    without_network.cache_clear()


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize(
    "ways", [(), (Apart(("no-such-program-as-this",), "none", "own"),), (Apart(("false",), "none", "own"),)]
)
def test_a_system_that_cannot_cut_the_network_is_recorded_as_such(
    monkeypatch: pytest.MonkeyPatch, ways: tuple[Apart, ...]
) -> None:
    monkeypatch.setattr(apart, "_WITHOUT_NETWORK", ways)
    assert without_network() == Apart()
    assert (fixed(0).network, fixed(0).processes) == ("not-cut", "shared")


@pytest.mark.usefixtures("forgetful")
def test_the_first_way_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = (Apart(("no-such-program-as-this",), "none", "own"), Apart(("env",), "none"))
    monkeypatch.setattr(apart, "_WITHOUT_NETWORK", ways)
    assert without_network() == Apart(("env",), "none")
    assert (fixed(0).network, fixed(0).processes) == ("none", "shared")


#: What a command sees of others: how it can be told which way is taken.
LOOK = "import os; print(*sorted(n for n in os.listdir('/proc') if n.isdigit()))"


@pytest.mark.parametrize("way", [with_network, without_network])
def test_a_command_sees_its_own_processes_alone_and_leaves_none(tmp_path: Path, way: Callable[[], Apart]) -> None:
    script = "import os, subprocess, sys; subprocess.Popen(['sleep', '1.803'], start_new_session=True); " + LOOK
    done = processes.run([*way().words, sys.executable, "-c", script], cwd=tmp_path, environ={}, seconds=20)
    left = running_with(b"1.803")
    if way().processes == "own":
        assert (done.status, done.stdout, left) == (0, b"1 2 3\n", [])  # the first, itself, and what it leaves
    else:
        for number in left:
            os.kill(number, signal.SIGKILL)


def test_how_a_command_ended_is_told_from_within(tmp_path: Path) -> None:
    words = without_network().words
    ended = [
        processes.run([*words, "sh", "-c", what], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=20).status
        for what in ("exit 7", "kill -9 $$")
    ]
    assert ended == [7, 128 + 9 if without_network().processes == "own" else -9]
    late = processes.run([*words, "sleep", "60"], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=0.2)
    assert late.status is None


@pytest.mark.parametrize("linux", [True, False])
def test_what_a_command_leaves_in_its_group_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: bool
) -> None:
    if not linux:
        monkeypatch.delattr(os, "pidfd_open")
    done = processes.run(["sh", "-c", "sleep 60 & echo $!"], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=20)
    assert done.status == 0
    child = int(done.stdout)
    if linux:
        until(lambda: not _alive(child))
    else:
        os.kill(child, signal.SIGKILL)  # where nobody can tell whose group it is, it is nobody's to end


def _alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def running_with(argument: bytes) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if argument in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
    return found


def test_the_interpreter_is_told_by_its_content() -> None:
    found = interpreter()
    assert found.sha256 == hashlib.sha256(Path(sys.executable).resolve().read_bytes()).hexdigest()
    assert found.version == ".".join(map(str, sys.version_info[:3]))


def test_a_program_gets_exactly_the_environment_it_is_given(tmp_path: Path) -> None:
    done = processes.run(["env"], cwd=tmp_path, environ={"PATH": os.defpath, "A": "1"}, seconds=10)
    assert done.status == 0
    names = {line.partition(b"=")[0] for line in done.stdout.splitlines()}
    assert names <= {b"A", b"PATH", b"PWD", b"SHLVL", b"_"}


def test_a_program_past_its_deadline_is_ended_with_its_children(tmp_path: Path) -> None:
    script = "sleep 60 & echo $!; wait"
    done = processes.run(["sh", "-c", script], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=0.2)
    assert done.status is None
    child = int(done.stdout)
    until(lambda: not _alive(child))


def test_only_the_end_of_endless_output_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_OUTPUT_BYTES", 10)
    script = "printf '%1000s' x; echo last words >&2"
    done = processes.run(["sh", "-c", script], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=10)
    assert done.stdout == b"         x"
    assert done.tail().endswith("ast words")


def test_what_a_program_said_last_commands_nobody(tmp_path: Path) -> None:
    script = r"printf '\033]0;title\007\n ::add-mask::x\n##vso[task.complete]\nplain \303\251 ::\n'"
    done = processes.run(["sh", "-c", script], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=10)
    assert done.tail().splitlines() == [
        r"\x1b]0;title\x07", "|  ::add-mask::x", "| ##vso[task.complete]", "plain é ::"
    ]  # fmt: skip


def test_a_program_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        processes.run(["no-such-program-as-this"], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=1)
