"""Where diffoscope is installed, differences are looked into; where not, or where it fails, the rest is said."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from attestor.building import diffoscope
from attestor.building.compare import Candidate, Verdict, compare
from attestor.building.diffoscope import compare_deeply, report
from tests import wheels

ONE, OTHER = (
    Candidate(title, "sample_plugin-1.0-py3-none-any.whl", wheels.pack_files(wheels.wheel_files({"demo.py": text})))
    for title, text in (("one", "WORD = 'former\\n'\n"), ("other", "WORD = 'latter\\n'\n"))
)


@pytest.fixture
def installed() -> None:
    """The program is there; only elsewhere than in CI it may be missing."""
    if shutil.which("diffoscope") is None and os.environ.get("CI") != "true":
        pytest.skip("diffoscope is not installed (tools/system_packages.sh)")


@pytest.mark.usefixtures("installed")
def test_its_report_follows_the_differences() -> None:
    found = compare_deeply(ONE, OTHER)
    assert found.verdict == Verdict.DIFFERENT
    lines = list(found.lines())
    assert lines[: len(lines) - len(found.report)] == list(compare(ONE, OTHER).lines())
    assert found.report[0] == "diffoscope:"
    assert any("+WORD = 'latter" in line for line in found.report)
    assert found.document()["report"] == list(found.report)
    assert all(line.isprintable() for line in found.report)


@pytest.mark.usefixtures("installed")
def test_its_report_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffoscope, "MAX_LINES", 3)
    found = report(ONE, OTHER)
    assert len(found) == 5
    assert found[-1] == "…"


def test_equal_wheels_are_not_looked_into() -> None:
    assert compare_deeply(ONE, ONE).report == ()


def test_without_it_nothing_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compare_deeply(ONE, OTHER) == compare(ONE, OTHER)


@pytest.mark.parametrize(("body", "said"), [("exit 2", "diffoscope failed"), ("sleep 30", "diffoscope took too long")])
def test_where_it_fails_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, said: str) -> None:
    program = tmp_path / "diffoscope"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(diffoscope, "DIFFOSCOPE_SECONDS", 0.5)
    assert report(ONE, OTHER) == (said,)
