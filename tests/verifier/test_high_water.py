"""The newest release that a host has let in is remembered: going back is warned of, and never blocked."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment
from verifier.gate import Gate
from verifier.plugin import take_out


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def warnings(hosted: HostedDeployment, wheel: Path, cache: Path | None) -> list[str]:
    """What a new start of the host is warned of when it loads a wheel."""
    hosted.unload()
    gate: Gate = hosted.gate(cache=cache)
    return [text for text in gate.load(wheel).facts.warnings if "downgrade" in text]


def test_a_downgrade_is_warned_of_and_not_blocked(
    hosted: HostedDeployment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new, cache = hosted.plugin(version="1.9"), hosted.plugin(version="1.10"), tmp_path / "cache"
    assert warnings(hosted, old, cache) == []
    assert warnings(hosted, new, cache) == []
    assert warnings(hosted, new, cache) == []
    with caplog.at_level(logging.WARNING, "verifier.judging.high_water"):
        (warning,) = warnings(hosted, old, cache)
    assert "let in 1.10 of the plugin before" in warning
    assert "sample_plugin 1.9" in caplog.text
    assert len(warnings(hosted, old, cache)) == 1  # the mark stays where it was


def test_going_back_behind_a_revoked_release_is_no_reason_to_warn(hosted: HostedDeployment, tmp_path: Path) -> None:
    old, new, cache = hosted.plugin(version="1.0"), hosted.plugin(version="2.0"), tmp_path / "cache"
    assert warnings(hosted, new, cache) == []
    hosted.revoke(new)
    hosted.refresh()
    assert warnings(hosted, old, cache) == []


def test_each_plugin_has_its_own_mark(hosted: HostedDeployment, tmp_path: Path) -> None:
    mine, other = hosted.plugin(version="2.0"), hosted.plugin(name="other-plugin", version="1.0")
    assert warnings(hosted, mine, tmp_path / "cache") == []
    assert warnings(hosted, other, tmp_path / "cache") == []


def test_without_a_cache_nothing_is_remembered(hosted: HostedDeployment) -> None:
    old, new = hosted.plugin(version="1.0"), hosted.plugin(version="2.0")
    assert warnings(hosted, new, None) == []
    assert warnings(hosted, old, None) == []


def test_a_mark_that_others_wrote_is_not_believed(hosted: HostedDeployment, tmp_path: Path) -> None:
    old, new, cache = hosted.plugin(version="1.0"), hosted.plugin(version="2.0"), tmp_path / "cache"
    assert warnings(hosted, new, cache) == []
    for file in cache.iterdir():
        if file.name != "key" and b"2.0 sha256:" in file.read_bytes():
            file.write_bytes(file.read_bytes().replace(b"2.0 sha256:", b"9.0 sha256:"))
    assert warnings(hosted, old, cache) == []


def test_what_another_process_let_in_meanwhile_counts(hosted: HostedDeployment, tmp_path: Path) -> None:
    old, new, cache = hosted.plugin(version="1.0"), hosted.plugin(version="2.0"), tmp_path / "cache"
    gate = hosted.gate(cache=cache)
    assert gate.load(hosted.plugin(name="other-plugin")).facts.warnings == ()  # by now this gate has read the marks
    hosted.unload()
    assert warnings(hosted, new, cache) == []
    hosted.unload()
    loaded = gate.load(old)
    assert "let in 2.0" in loaded.facts.warnings[-1]
    take_out(loaded)
    assert len(warnings(hosted, old, cache)) == 1  # and what this gate knew of before did not lower it
