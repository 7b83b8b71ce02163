"""The unit of systemd as it is shipped: systemd understands all of it, and finds little left to deny it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from crl_server.operating.push import MAX_LISTENERS
from crl_server.processes.process import GRACE
from loadlock.cli import _find, _parser_of
from tests.project.tree import ROOT

UNIT = ROOT / "deploy" / "systemd" / "loadlock.service"
MOST_EXPOSURE = 20
"""On systemd's scale from 0 to 100, in its own words: below 20 is "OK" to "SAFE"."""


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is missing: see tools/system_packages.sh"
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


def unit_on_this_machine(directory: Path) -> Path:
    """The unit, with a program and a user that exist here."""
    path = directory / UNIT.name
    text = UNIT.read_text("utf-8")
    assert text.count("/opt/loadlock/bin/loadlock") == 1
    path.write_text(text.replace("/opt/loadlock/bin/loadlock", sys.executable).replace("User=loadlock", "User=daemon"))
    return path


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    done = analyze("verify", "--man=no", str(unit_on_this_machine(tmp_path)))
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, [])


def test_a_line_that_systemd_does_not_know_would_be_found(tmp_path: Path) -> None:
    unit = unit_on_this_machine(tmp_path)
    unit.write_text(unit.read_text().replace("PrivateTmp=true", "PrivateTemp=true"))
    assert "PrivateTemp" in analyze("verify", "--man=no", str(unit)).stderr


def test_little_is_left_that_it_could_be_denied(tmp_path: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(unit_on_this_machine(tmp_path)))
    assert done.returncode == 0, done.stdout
    bare = tmp_path / "bare.service"
    bare.write_text(f"[Service]\nExecStart={sys.executable}\n")
    assert analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(bare)).returncode != 0


def test_what_it_starts_is_a_command_of_ours() -> None:
    words = re.search(r"^ExecStart=/opt/loadlock/bin/loadlock (.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert words is not None
    command = _find(words[1].split())
    assert command is not None
    parsed = _parser_of(command).parse_args(words[1].split()[1:])
    assert (command.name, parsed.host, parsed.port) == ("serve", "127.0.0.1", 8600)


def test_its_limits_fit_the_servers() -> None:
    limits = dict(re.findall(r"^(LimitNOFILE|TimeoutStopSec)=(\d+)$", UNIT.read_text("utf-8"), re.MULTILINE))
    assert int(limits["LimitNOFILE"]) > MAX_LISTENERS
    assert int(limits["TimeoutStopSec"]) > GRACE
