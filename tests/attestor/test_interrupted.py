"""A command that is told to end leaves nothing behind: no program, no directory, no report as if all were well."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from attestor.commands.remark_options import telling
from tests.attestor.conftest import EXAMPLE, Project, Signers
from tests.attestor.test_build import probe
from tests.attestor.test_cli import Recorder
from tests.waiting import until

# What a shell starts in the background ignores SIGINT, and so does all that is started by it, these tests perhaps.
IN_THE_FOREGROUND = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("loadlock", run_name="__main__", alter_sys=True)
"""


def _inside(directory: Path) -> list[str]:
    """What runs in a directory; a build knows no number of its own but that of its namespace."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if place.readlink().is_relative_to(directory):
                found.append(place.parent.name)
    return found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_both_builds_end_with_the_command(
    project: Project, signers: Signers, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    begun, scratch, told = tmp_path / "begun", tmp_path / "scratch", tmp_path / "told.sarif"
    begun.mkdir()
    scratch.mkdir()
    work = f"open('{begun}/' + os.urandom(8).hex(), 'w').close(); __import__('time').sleep(600)"
    source = project(probe(work=work))
    process = subprocess.Popen(
        [
            sys.executable, "-c", IN_THE_FOREGROUND, "attest", source, "-o", tmp_path / "dist", "--sarif", told,
            "--key", signers.place / "builder.pem", "--manifest", EXAMPLE / "PLUGIN_MANIFEST.json",
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(scratch)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: len(list(begun.iterdir())) == 2)
        assert len(_inside(scratch)) >= 2
        process.send_signal(number)
        assert process.wait(60) == status
    finally:
        process.kill()
        process.wait()
    until(lambda: not _inside(scratch))
    assert not list(scratch.iterdir())
    assert not (tmp_path / "dist").exists()
    (found,) = json.loads(told.read_text())["runs"][0]["results"]
    assert found["ruleId"] == "loadlock.unfinished"


def test_a_command_that_fails_in_an_unforeseen_way_does_not_report_that_it_found_nothing(tmp_path: Path) -> None:
    def broken(args: argparse.Namespace, output: object, remarks: object) -> int:
        raise ZeroDivisionError

    told = tmp_path / "quality.json"
    args = argparse.Namespace(sarif=None, code_quality=str(told), annotations=None)
    with pytest.raises(ZeroDivisionError):
        telling(broken)(args, Recorder())
    (found,) = json.loads(told.read_text())
    assert found["check_name"] == "loadlock.unfinished"


def test_signals_are_handled_as_before_afterwards(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    args = argparse.Namespace(sarif=None, code_quality=None, annotations=None)
    assert telling(lambda args, output, remarks: 0)(args, Recorder()) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
