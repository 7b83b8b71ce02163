"""Waivers: each for one check, with a reason and an end, and never for more than was said."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from attestor.checking.waivers import Waivers, read_waivers
from tests.attestor.conftest import NOW
from verifier.errors import LoadlockError
from verifier.formats.findings import Check, CheckName, CheckResult, Waiver
from verifier.formats.text import Time

ONE = """
[[waiver]]
check = "secrets"
waives = "failed"
reason = "A key of the test server, which guards nothing."
expires = "2026-02-01T00:00:00Z"
"""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[[waiver]\n", "format.syntax"),
        ("\xff", "format.syntax"),
        (ONE + ONE, "format.schema"),
        (ONE.replace("secrets", "vibes"), "format.schema"),
        (ONE.replace('"failed"', '"everything"'), "format.schema"),
        (ONE.replace("A key of the test server, which guards nothing.", ""), "format.schema"),
        (ONE.replace('expires = "2026-02-01T00:00:00Z"', ""), "format.schema"),
        (ONE.replace("2026-02-01T00:00:00Z", "never"), "format.schema"),
        (ONE.replace('"2026-02-01T00:00:00Z"', "2026-02-01"), "format.schema"),
        (ONE + 'by = "alice"\n', "format.schema"),
        ("waivers = []\n", "format.schema"),
        (" " * 70_000, "format.too-large"),
    ],
)
def test_a_file_that_leaves_something_open_is_refused(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "waivers.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(LoadlockError) as caught:
        read_waivers(tmp_path / "waivers.toml")
    assert caught.value.code == code


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadlockError) as caught:
        read_waivers(tmp_path / "absent")
    assert caught.value.code == "io.failed"


def check(name: CheckName, result: CheckResult) -> Check:
    findings = {"passed": 0, "failed": 3}.get(result)
    reason = "" if result == "passed" else "3 findings"
    return Check(name=name, result=result, tool="tool", version="1", findings=findings, reason=reason)


def test_a_waiver_waives_what_it_names_until_its_end(tmp_path: Path) -> None:
    (tmp_path / "waivers.toml").write_text(ONE)
    waivers = read_waivers(tmp_path / "waivers.toml")
    assert waivers.sha256 == hashlib.sha256(ONE.encode()).hexdigest()
    waived = waivers.apply(check("secrets", "failed"), NOW)
    reason = "A key of the test server, which guards nothing."
    assert waived.waiver == Waiver(waives="failed", reason=reason, expires=Time("2026-02-01T00:00:00Z"))
    assert (waived.result, waived.reason) == ("waived", "3 findings")


@pytest.mark.parametrize(("name", "result"), [("secrets", "not-run"), ("secrets", "passed"), ("tests", "failed")])
def test_a_waiver_waives_nothing_else(tmp_path: Path, name: CheckName, result: CheckResult) -> None:
    (tmp_path / "waivers.toml").write_text(ONE)
    before = check(name, result)
    assert read_waivers(tmp_path / "waivers.toml").apply(before, NOW) == before


@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=1)])
def test_a_waiver_that_has_expired_waives_nothing_and_says_so(tmp_path: Path, late: timedelta) -> None:
    (tmp_path / "waivers.toml").write_text(ONE)
    moment = Time("2026-02-01T00:00:00Z").instant + late
    found = read_waivers(tmp_path / "waivers.toml").apply(check("secrets", "failed"), moment)
    assert (found.result, found.waiver) == ("failed", None)
    assert found.reason == "3 findings; its waiver expired on 2026-02-01T00:00:00Z"


def test_without_a_file_nothing_is_waived() -> None:
    assert Waivers().apply(check("tests", "failed"), NOW).result == "failed"
