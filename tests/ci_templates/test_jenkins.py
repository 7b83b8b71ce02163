"""The Jenkinsfile is balanced Groovy with the blocks of a declarative pipeline. No Jenkins runs it here."""

from __future__ import annotations

import pytest

from tests.ci_templates import groovy
from tests.ci_templates.templates import JENKINS, JOBS

TEXT = JENKINS.read_text(encoding="utf-8")
# The sections and directives of Jenkins' declarative syntax that may stand there, and those that must.
PIPELINE = {"parameters", "environment", "options", "stages"}
STAGE = {"when", "input", "agent", "environment", "steps", "post"}


@pytest.mark.parametrize("text", ["pipeline {", "a(b]", "}", "sh 'x", 'sh "x', "/* {", "sh '''x''"])
def test_what_is_not_balanced_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="clos"):
        groovy.code(text + "\n" if text != "/* {" else text)


def test_strings_and_comments_are_no_code() -> None:
    assert groovy.code("a { // }\n b '}' }").split() == ["a", "{", "b", "''", "}"]
    assert groovy.blocks("a { b { } b('') { c { } } }") == {"a": [{"b": [{}, {"c": [{}]}]}]}


def test_it_is_one_declarative_pipeline() -> None:
    found = groovy.blocks(groovy.code(TEXT))
    (pipeline,) = found["pipeline"]
    assert set(found) == {"pipeline"}
    assert set(pipeline) == PIPELINE
    (stages,) = pipeline["stages"]
    assert {word: len(each) for word, each in stages.items()} == {"stage": len(JOBS)}
    for job, stage in zip(JOBS, stages["stage"], strict=True):
        assert set(stage) == STAGE - (set() if job in ("endorse", "certify") else {"input"})
        assert all(len(each) == 1 for each in stage.values())
        assert stage["post"] == [{"cleanup": [{}]}]


def test_no_agent_is_held_while_a_person_decides() -> None:
    code = groovy.code(TEXT)
    assert "agent none" in code
    assert code.count("beforeInput true") == code.count("input {")
    assert code.count("beforeAgent true") == len(JOBS)
