"""Where a build runs, and how other programs are run."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attestor.building import environment, processes
from attestor.building.environment import fixed, interpreter, network_cut


@pytest.fixture
def forgetful() -> Iterator[None]:
    """What this system can do is found out anew."""
    network_cut.cache_clear()
    yield
    network_cut.cache_clear()


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("ways", [(), (("no-such-program-as-this",),), (("false",),)])
def test_a_system_that_cannot_cut_the_network_is_recorded_as_such(
    monkeypatch: pytest.MonkeyPatch, ways: tuple[tuple[str, ...], ...]
) -> None:
    monkeypatch.setattr(environment, "_CUT", ways)
    assert network_cut() == ()
    assert fixed(0).network == "not-cut"


@pytest.mark.usefixtures("forgetful")
def test_the_first_way_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_CUT", (("no-such-program-as-this",), ("env",)))
    assert network_cut() == ("env",)
    assert fixed(0).network == "none"


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
    child = Path(f"/proc/{int(done.stdout)}/stat")
    for _ in range(250):
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] in {"Z", "X"}:
            return
        time.sleep(0.02)
    pytest.fail("the child outlived the deadline")


def test_only_the_end_of_endless_output_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_OUTPUT_BYTES", 10)
    script = "printf '%1000s' x; echo last words >&2"
    done = processes.run(["sh", "-c", script], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=10)
    assert done.stdout == b"         x"
    assert done.tail().endswith("ast words")


def test_a_program_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        processes.run(["no-such-program-as-this"], cwd=tmp_path, environ={"PATH": os.defpath}, seconds=1)
