"""Steps of long work: what listeners are told, and that nothing is lost when something goes wrong."""

from __future__ import annotations

import io
import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from verifier.errors import LoadlockError, Refused, Unreachable
from verifier.progress import SILENT, Events, Lines, Progress


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_error_ends_its_step_and_goes_on() -> None:
    stream, lines = io.StringIO(), list[str]()
    progress = Progress(Events(stream.write), Lines(lines.append))
    with (
        pytest.raises(Refused) as caught,
        progress.step("act", whole=True),
        progress.step("build"),
    ):
        raise Refused("build.failed", "it failed")
    assert caught.value.code == "build.failed"
    assert [(e["state"], e.get("command"), e.get("step"), e.get("code")) for e in told(stream)] == [
        ("began", "act", None, None),
        ("began", None, "build", None),
        ("failed", None, "build", "build.failed"),
        ("failed", "act", None, "build.failed"),
    ]
    assert lines == []


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_what_nobody_foresaw_has_a_code_too(error: BaseException) -> None:
    stream = io.StringIO()
    with pytest.raises(type(error)), Progress(Events(stream.write)).step("build"):
        raise error
    assert told(stream)[-1]["code"] == "internal.unexpected"


def test_events_that_cannot_be_written_end_the_work() -> None:
    with (
        closing(Events.to("/dev/full")) as events,
        pytest.raises(Unreachable) as caught,
        Progress(events).step("build"),
    ):
        pytest.fail("the work began unheard")
    assert caught.value.code == "io.failed"


@pytest.mark.parametrize("name", ["absent/events", ".", "nul\0"])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadlockError) as caught:
        Events.to(f"{tmp_path}/{name}")
    assert (caught.value.code, caught.value.exit_status) == ("io.failed", 2)


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadlockError) as caught:
        Events.to(str(tmp_path / "pipe"))
    assert caught.value.code == "io.failed"


def test_steps_that_are_done_are_lines_and_events() -> None:
    stream, lines = io.StringIO(), list[str]()
    progress = Progress(Events(stream.write), Lines(lines.append))
    with progress.step("act", whole=True), progress.step("build") as step:
        step.says("x.whl, é\x1b[2J")
    progress.done("cannot be the same", "zlib")
    assert lines == ["build               x.whl, é\x1b[2J", "cannot be the same  zlib"]
    events = told(stream)
    assert [event["seq"] for event in events] == list(range(6))
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert "\x1b" not in stream.getvalue()
    (built,) = [event for event in events if event.get("step") == "build" and event["state"] == "done"]
    assert set(built) == {"v", "seq", "at", "step", "state", "ms", "detail"}
    assert 0 <= built["ms"] <= built["at"]


def test_silence() -> None:
    with SILENT.step("build") as step:
        step.says("nobody hears")
