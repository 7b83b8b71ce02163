"""The narrator: the story's outcome is right only when every step ended as it should."""

from __future__ import annotations

import pytest

from loadlock.narrator import Narrator
from verifier.command import StandardOutput
from verifier.errors import Refused, Unreachable


def refuse(code: str = "set.missing") -> None:
    raise Refused(code, "no")


@pytest.fixture
def narrator() -> Narrator:
    return Narrator(StandardOutput())


def test_a_refusal_that_does_not_happen_spoils_the_story(
    narrator: Narrator, capsys: pytest.CaptureFixture[str]
) -> None:
    narrator.refusal("unsigned", "set.missing", "The wheel alone", lambda: None)
    assert not narrator.ok
    assert narrator.steps[0].outcome == "ok"
    assert "WRONG: ok, expected set.missing" in capsys.readouterr().out


def test_a_refusal_for_another_reason_spoils_the_story(narrator: Narrator, capsys: pytest.CaptureFixture[str]) -> None:
    narrator.refusal("unsigned", "set.missing", "The wheel alone", lambda: refuse("list.stale"))
    assert not narrator.ok
    assert "WRONG: refused, expected set.missing" in capsys.readouterr().out


def test_a_step_that_fails_ends_the_story(narrator: Narrator) -> None:
    def unreachable() -> None:
        raise Unreachable("unreachable.server", "gone")

    with pytest.raises(Unreachable):
        narrator.step("serve", "The server starts", unreachable)
    assert not narrator.ok
    assert (narrator.steps[0].outcome, narrator.steps[0].code) == ("failed", "unreachable.server")


def test_an_error_that_nobody_foresaw_is_not_taken_for_a_refusal(narrator: Narrator) -> None:
    with pytest.raises(ZeroDivisionError):
        narrator.refusal("unsigned", "set.missing", "The wheel alone", lambda: 1 / 0)


def test_a_story_that_goes_right(narrator: Narrator, capsys: pytest.CaptureFixture[str]) -> None:
    narrator.chapter("First")
    assert narrator.step("make", "Something is made", lambda: 42) == 42
    narrator.tell("it is 42")
    narrator.refusal("unsigned", "set.missing", "The wheel alone", refuse)
    assert narrator.ok
    document = narrator.document()
    assert document["ok"] is True
    assert [set(step) for step in document["steps"]] == [{"name", "expected", "outcome", "code", "ms"}] * 2
    told = capsys.readouterr().out
    assert "\nFirst\n  1. Something is made" in told
    assert "      it is 42\n" in told
    assert "[set.missing] no\n" in told
    assert "next: " in told
    assert all(len(line) <= 110 for line in told.splitlines() if line[:5].strip().endswith("."))


def test_nothing_is_told_where_a_program_reads(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(StandardOutput(as_json=True))
    narrator.chapter("First")
    narrator.step("make", "Something is made", lambda: None)
    narrator.refusal("unsigned", "set.missing", "The wheel alone", refuse)
    assert capsys.readouterr().out == ""
    assert narrator.ok
