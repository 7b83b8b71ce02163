"""Progress through the root of the command line: lines, a live terminal, and events beside the one JSON object."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from loadlock.cli import main
from tests.project.tree import ROOT
from tests.wheels import build_wheel

SPEC = (ROOT / "docs" / "spec" / "events.md").read_text(encoding="utf-8")
MANIFEST = {
    "v": 1, "plugin_id": "sample_plugin", "version": "1.0", "description": "Exports.", "owner": "owner",
    "kind": "exporter", "api_version": ">=1", "maturity": "stable",
    "entry_points": {"exporters": {"csv": "sample_plugin:export"}},
}  # fmt: skip
STEPS = ["manifest", "wheel", "dependencies", "SBOM", "leak gate", "sign", "verify own output"]


@pytest.fixture
def attest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command of several steps that connects to nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADLOCK_DEPLOYMENT", raising=False)
    wheel = build_wheel({"sample_plugin/__init__.py": "def export(): ..."})
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    assert main(["key", "new", "key.pem"]) == 0
    return [
        "attest", "--wheel", wheel.file_name, "--manifest", "manifest.json", "-o", "dist", "--key", "key.pem",
        "--build-wheelhouse", ".",
    ]  # fmt: skip


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_specs_example_is_of_its_own_form() -> None:
    block = SPEC.partition("```jsonl\n")[2].partition("```")[0]
    allowed = set(re.findall(r"^\| `(\w+)`", SPEC, re.MULTILINE)) | {"step"}
    for number, event in enumerate(events(block)):
        assert set(event) <= allowed
        assert event["seq"] == number
        assert (event["state"] == "failed") == ("code" in event)
        assert (event["state"] != "began") == ("ms" in event)


@pytest.mark.parametrize("words", [["--events"], ["--events", "absent/e", "verify", "x.whl"]])
def test_events_that_go_nowhere_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "[" in capsys.readouterr().err


def test_a_command_that_fails_says_so_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "x.whl", "--deployment", str(tmp_path), "--json", "--events", str(tmp_path / "e")]) != 0
    error = json.loads(capsys.readouterr().out)["error"]
    first, last = events((tmp_path / "e").read_text(encoding="utf-8"))
    assert (first["command"], first["state"]) == ("verify", "began")
    assert (last["command"], last["state"], last["code"]) == ("verify", "failed", error["code"])


@pytest.mark.parametrize("first", [True, False])
def test_events_leave_the_one_object_alone(
    attest: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, first: bool
) -> None:
    capsys.readouterr()
    option = ["--events", "events.jsonl"]
    assert main([*option, *attest, "--json"] if first else [*attest, "--json", *option]) == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)["ok"] is True
    assert streams.err == ""
    found = events((tmp_path / "events.jsonl").read_text(encoding="utf-8"))
    assert [event["step"] for event in found if "step" in event and event["state"] == "began"] == STEPS
    assert [event["step"] for event in found if "step" in event and event["state"] == "done"] == STEPS
    assert (found[-1]["command"], found[-1]["state"]) == ("attest", "done")


def test_events_on_standard_error(attest: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main([*attest, "--json", "--events", "-"]) == 0
    streams = capsys.readouterr()
    assert json.loads(streams.out)["ok"] is True
    assert [event["seq"] for event in events(streams.err)] == list(range(2 * len(STEPS) + 2))


def test_plain_lines_where_nobody_watches(attest: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(attest) == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    lines = streams.out.splitlines()
    assert [line[:20].strip() for line in lines[: len(STEPS)]] == STEPS
    assert "\x1b" not in streams.out


def test_a_terminal_shows_the_step_that_runs(attest: list[str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "loadlock", *attest], cwd=tmp_path, env=os.environ | {"TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = bytearray()
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
    os.close(ours)
    assert process.returncode == 0
    assert b"dependencies" in shown
    assert b"\x1b[?25h" in shown  # the cursor is there again
    assert [line[:20].strip() for line in lines[: len(STEPS)]] == STEPS
