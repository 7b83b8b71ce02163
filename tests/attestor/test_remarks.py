"""What CI systems are told: valid in each of their formats, whatever somebody else's text holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema  # type: ignore[import-untyped]
import pytest

from attestor.checking import remarks
from attestor.checking.remarks import MAX_REMARKS, Remark, Style, code_quality, log_lines, remark_of, sarif
from tests.attestor import test_cli
from tests.attestor.conftest import Signers, git
from tests.attestor.test_cli import code_of
from verifier.errors import Refused

elsewhere = test_cli.elsewhere

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}


def closed(required: str, **properties: Any) -> dict[str, Any]:
    """An object with these properties and no others; ``required`` names those that have to be there."""
    return {
        "type": "object", "properties": properties, "required": required.split(), "additionalProperties": False,
    }  # fmt: skip


MESSAGE = closed("text", text=TEXT, markdown=TEXT, id=TEXT, arguments={"type": "array"}, properties={"type": "object"})
PLACE = closed(
    "artifactLocation",
    artifactLocation=closed("uri", uri={"type": "string", "format": "uri-reference"}, uriBaseId=TEXT, index={}),
    region=closed("startLine", startLine={"type": "integer", "minimum": 1}, startColumn={}, endLine={}, endColumn={}),
)
RULE = closed(
    "id", id=TEXT, name=TEXT, shortDescription=MESSAGE, fullDescription=MESSAGE, help=MESSAGE,
    helpUri={"type": "string", "format": "uri"}, defaultConfiguration={},
    properties=closed(
        "", **{"security-severity": {"type": "string", "pattern": r"^\d+\.\d$"}, "tags": {"type": "array"}}
    ),
)  # fmt: skip
RESULT = closed(
    "message ruleId ruleIndex level locations",
    ruleId=TEXT, ruleIndex={"type": "integer", "minimum": 0}, level={"enum": ["none", "note", "warning", "error"]},
    message=MESSAGE,
    locations={"type": "array", "minItems": 1, "items": closed("physicalLocation", physicalLocation=PLACE)},
    partialFingerprints={"type": "object", "additionalProperties": {"type": "string"}},
)  # fmt: skip
DRIVER = closed(
    "name", name=TEXT, semanticVersion=TEXT, version=TEXT, informationUri={"type": "string", "format": "uri"},
    rules={"type": "array", "uniqueItems": True, "items": RULE},
)  # fmt: skip
RUN = closed(
    "tool results", tool=closed("driver", driver=DRIVER), results={"type": "array", "items": RESULT},
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
)  # fmt: skip
SARIF = closed(
    "version runs", **{"$schema": {"const": remarks.SCHEMA}}, version={"const": "2.1.0"},
    runs={"type": "array", "minItems": 1, "maxItems": 1, "items": RUN},
)  # fmt: skip
"""The part of the SARIF 2.1.0 schema (OASIS) that we write: its names, types and demands, and nothing beside them."""
QUALITY = {
    "type": "array",
    "items": closed(
        "description check_name fingerprint severity location",
        description=TEXT, check_name=TEXT, fingerprint=TEXT,
        severity={"enum": ["info", "minor", "major", "critical", "blocker"]},
        location=closed(
            "path lines", path={"type": "string", "pattern": r"^(?!\./|/)."},
            lines=closed("begin", begin={"type": "integer", "minimum": 1}),
        ),
    ),
}  # fmt: skip
"""GitLab's code quality report: the fields that its documentation lists."""

HOSTILE = [
    "\n::set-env name=PATH::/evil",
    "\r\n##vso[task.setvariable variable=PATH]/evil",
    "a%0A::stop-commands::x",
    "%AZP25 ]; x=1",
    "\x1b[2J\u202etxt",
    "file,line=9::evil",
    "\x00\ud800",
    "x" * 100_000,
    "",
]
SOME = [
    Remark("CVE-1", "parser 2.0: bad", rating="critical"),
    Remark("S301", "S301 it loads pickles", path="src/a.py", line=3),
    Remark("S301", "S301 it loads pickles", path="src/a.py", line=9),
    Remark("tests", "tests: 1 failed", "warning"),
    Remark("vulnerabilities.not-audited", "attrs: not audited", "note"),
]


def checked(data: bytes, schema: dict[str, Any]) -> Any:
    document = json.loads(data)
    jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate(document)
    return document


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["rule", "message", "path"])
def test_no_text_leaves_its_place(place: str, text: str) -> None:
    if not text and place != "message":
        text = "something"  # rules and paths are never empty
    fields: dict[str, Any] = {"rule": "rule", "message": "message", "path": "a.py", "line": 3, place: text}
    remark = Remark(**fields)
    for style in get_args(Style):
        (line,) = log_lines([remark], style)
        assert line.isprintable()
        assert len(line) < 8000
    (github,) = log_lines([remark], "github")
    match = re.fullmatch(r"::error file=([^,:]*),line=3,title=([^,:]*)::(.*)", github)
    assert match
    assert not re.search(r"%(?!25|0A|0D|3A|2C)", github)
    (azure,) = log_lines([remark], "azure")
    assert re.fullmatch(r"##vso\[task\.logissue type=error;sourcepath=[^;\]]*;linenumber=3;code=[^;\]]*;\].*", azure)
    document = checked(sarif([remark]), SARIF)
    assert len(document["runs"][0]["results"]) == 1
    checked(code_quality([remark]), QUALITY)


def test_sarif_names_each_rule_once_and_rates_what_is_rated() -> None:
    run = checked(sarif(SOME), SARIF)["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert sorted(rule["id"] for rule in rules) == ["CVE-1", "S301", "tests", "vulnerabilities.not-audited"]
    assert all(rules[found["ruleIndex"]]["id"] == found["ruleId"] for found in run["results"])
    by_id = {rule["id"]: rule for rule in rules}
    assert by_id["CVE-1"]["properties"]["security-severity"] == "10.0"
    assert "audited" in by_id["vulnerabilities.not-audited"]["help"]["text"]
    assert [found["level"] for found in run["results"]] == ["error", "error", "error", "warning", "note"]
    place = run["results"][1]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "src/a.py"}, "region": {"startLine": 3}}


def test_nothing_found_is_a_whole_report() -> None:
    assert checked(sarif([]), SARIF)["runs"][0]["results"] == []
    assert checked(code_quality([]), QUALITY) == []
    assert log_lines([], "github") == []


def test_gitlab_tells_two_of_a_kind_apart() -> None:
    report = checked(code_quality(SOME), QUALITY)
    assert len({entry["fingerprint"] for entry in report}) == len(SOME)
    assert [entry["severity"] for entry in report] == ["blocker", "major", "major", "minor", "info"]


def test_a_fingerprint_does_not_depend_on_the_line() -> None:
    before, after = Remark("S301", "it loads", line=3), Remark("S301", "it loads", line=4)
    assert before.fingerprint == after.fingerprint != Remark("S302", "it loads").fingerprint


def test_beyond_the_cap_remarks_are_counted_and_the_worst_are_told() -> None:
    many = [Remark("note", f"{number}", "note") for number in range(MAX_REMARKS + 5)]
    told = checked(sarif([*many, Remark("bad", "worst")]), SARIF)["runs"][0]["results"]
    assert len(told) == MAX_REMARKS + 1
    assert told[0]["ruleId"] == "bad"
    assert told[-1]["message"]["text"] == "6 more findings are not listed"


def test_a_refusal_is_told_with_its_code_and_without_empty_parts() -> None:
    remark = remark_of(Refused("leak.found", "the SBOM would give something away", found="a path"))
    assert (remark.rule, remark.message) == ("leak.found", "the SBOM would give something away; found: a path")
    assert (remark.path, remark.level) == ("pyproject.toml", "error")


def test_plain_lines_are_those_that_editors_read() -> None:
    assert log_lines(SOME[:2], "plain") == [
        "pyproject.toml:1: error: parser 2.0: bad [CVE-1]", "src/a.py:3: error: S301 it loads pickles [S301]",
    ]  # fmt: skip


# -- the commands ------------------------------------------------------------------------------------------------------


def test_a_refusal_is_told_before_it_is_raised(
    repository: Path, signers: Signers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "new.py").touch()
    files = ("--sarif", tmp_path / "out" / "a.sarif", "--code-quality", tmp_path / "out" / "q.json")
    key = ("--key", signers.place / "builder.pem")
    assert (
        code_of("attest", repository, "-o", tmp_path / "d", *key, *files, "--annotations", "github") == "source.dirty"
    )
    (found,) = checked((tmp_path / "out" / "a.sarif").read_bytes(), SARIF)["runs"][0]["results"]
    assert found["ruleId"] == "source.dirty"
    (entry,) = checked((tmp_path / "out" / "q.json").read_bytes(), QUALITY)
    assert entry["check_name"] == "source.dirty"
    assert capsys.readouterr().err.startswith("::error file=pyproject.toml,line=1,title=source.dirty::")


def test_what_the_leak_gate_refuses_is_told_without_the_find(
    repository: Path, signers: Signers, tmp_path: Path, build_wheels: Path
) -> None:
    manifest = json.loads((repository / "PLUGIN_MANIFEST.json").read_bytes())
    manifest["description"] = "Made in /home/alice/plugins."
    (repository / "PLUGIN_MANIFEST.json").write_text(json.dumps(manifest))
    git(repository, "commit", "--quiet", "--all", "--message=second")
    words = ("--build-wheelhouse", build_wheels, "--once", "--key", signers.place / "builder.pem")
    told = tmp_path / "a.sarif"
    assert code_of("attest", repository, "-o", tmp_path / "d", *words, "--sarif", told) == "leak.found"
    (found,) = checked(told.read_bytes(), SARIF)["runs"][0]["results"]
    assert found["ruleId"] == "leak.found"
    assert "description" in found["message"]["text"]
    assert b"alice" not in told.read_bytes()


def test_without_the_options_nothing_is_told(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("attest", repository, "-o", tmp_path / "d") == "usage.key"
    assert capsys.readouterr() == ("", "")


def test_a_report_that_cannot_be_written_is_an_error(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert code_of("attest", repository, "-o", tmp_path / "d", "--sarif", tmp_path / "file" / "a") == "io.failed"
