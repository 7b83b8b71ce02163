"""What a command found, told to the systems that show it beside the code: SARIF, GitLab's code quality, CI annotations.

Texts of others (advisories, tools, file names) end up in log lines that CI systems obey and in pages that people read:
each format escapes them in its own way, control characters are escaped before, and lengths are capped.

Sources: OASIS SARIF 2.1.0; GitLab, "Code Quality report format"; GitHub Actions, "Workflow commands"; Azure Pipelines,
"Logging commands".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from attestor.building.versions import version_of
from verifier.codes import CODES
from verifier.errors import LoadlockError
from verifier.formats.findings import Rating
from verifier.formats.strict_json import dumps, quoted

PROJECT = "pyproject.toml"
"""Where something is shown that belongs to the whole plugin."""
MAX_REMARKS = 1000
"""How many remarks are told; GitHub's code scanning takes 5,000 of a run and shows as many."""
MAX_TEXT = 1000
"""How many characters of one remark are told."""
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

Level = Literal["error", "warning", "note"]
Style = Literal["plain", "github", "azure"]

_SCORES: Mapping[Rating, str] = {"none": "0.0", "low": "3.9", "medium": "6.9", "high": "8.9", "critical": "10.0"}
_GITLAB: Mapping[Level, str] = {"error": "major", "warning": "minor", "note": "info"}
_GITLAB_RATED: Mapping[Rating, str] = {
    "none": "info", "low": "minor", "medium": "major", "high": "critical", "critical": "blocker",
}  # fmt: skip
_GITHUB: Mapping[Level, str] = {"error": "error", "warning": "warning", "note": "notice"}


@dataclass(frozen=True)
class Remark:
    """One thing that was found.

    Args:
        rule: what kind of thing: an error's code, an advisory's id, a tool's rule.
        message: in words.
        level: how bad it is.
        path: of the file in the source, with ``/``.
        line: in that file, from 1; None: the file as a whole.
        rating: how severe it is, where somebody has rated it.
    """

    rule: str
    message: str
    level: Level = "error"
    path: str = PROJECT
    line: int | None = None
    rating: Rating | None = None

    def __str__(self) -> str:
        place = "" if self.line is None else f"{self.path}:{self.line}: "
        return quoted(f"{place}{self.message}")

    @property
    def text(self) -> str:
        """The message, fit to be shown anywhere."""
        shown = "".join(quoted(self.message[at : at + 100]) for at in range(0, min(len(self.message), MAX_TEXT), 100))
        return shown or self.rule

    @property
    def fingerprint(self) -> str:
        """The same for the same thing in another run, wherever its line has moved to."""
        return hashlib.sha256("\0".join((self.rule, self.path, self.message)).encode("utf-8", "replace")).hexdigest()


def remark_of(error: LoadlockError) -> Remark:
    """A refusal as a remark."""
    parts = [error.what, f"found: {error.found}" if error.found else "", f"expected: {error.expected}"]
    return Remark(error.code, "; ".join(part for part in parts if part and not part.endswith(": ")))


def log_lines(remarks: Iterable[Remark], style: Style) -> list[str]:
    """One line of a build's log for each remark, which the CI system shows beside the code."""
    return [_LINES[style](remark) for remark in _capped(remarks)]


def code_quality(remarks: Iterable[Remark]) -> bytes:
    """GitLab's code quality report."""
    seen: dict[str, int] = {}
    entries = []
    for remark in _capped(remarks):
        count = seen[remark.fingerprint] = seen.get(remark.fingerprint, 0) + 1
        severity = _GITLAB_RATED[remark.rating] if remark.rating else _GITLAB[remark.level]
        entries.append(
            {
                "description": remark.text,
                "check_name": quoted(remark.rule),
                # Of several entries with one fingerprint only the first is shown.
                "fingerprint": remark.fingerprint if count == 1 else f"{remark.fingerprint}-{count}",
                "severity": severity,
                "location": {"path": quoted(remark.path), "lines": {"begin": remark.line or 1}},
            }
        )
    return dumps(entries)


def sarif(remarks: Iterable[Remark]) -> bytes:
    """A SARIF log of one run."""
    told = _capped(remarks)
    rules = {remark.rule: _rule(remark) for remark in reversed(told)}
    ids = list(rules)
    driver = {
        "name": "Loadlock",
        "semanticVersion": version_of("loadlock"),
        "rules": list(rules.values()),
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(remark, ids.index(remark.rule)) for remark in told],
    }
    return dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _capped(remarks: Iterable[Remark]) -> Sequence[Remark]:
    """The remarks, the worst first; those beyond the cap are counted in one of their own."""
    order = ("error", "warning", "note")
    found = sorted(remarks, key=lambda remark: order.index(remark.level))
    if len(found) <= MAX_REMARKS:
        return found
    rest = len(found) - MAX_REMARKS
    return [*found[:MAX_REMARKS], Remark("loadlock.more", f"{rest} more findings are not listed", found[0].level)]


def _rule(remark: Remark) -> dict[str, Any]:
    code = CODES.get(remark.rule)
    rule: dict[str, Any] = {"id": quoted(remark.rule)}
    if code is not None:
        rule |= {"shortDescription": {"text": code.meaning}, "help": {"text": code.todo}}
    if remark.rating is not None:
        rule["properties"] = {"security-severity": _SCORES[remark.rating], "tags": ["security"]}
    return rule


def _result(remark: Remark, index: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(remark.path)}}
    if remark.line is not None:
        place["region"] = {"startLine": max(remark.line, 1)}
    return {
        "ruleId": quoted(remark.rule),
        "ruleIndex": index,
        "level": remark.level,
        "message": {"text": remark.text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"loadlock/v1": remark.fingerprint},
    }


def _uri(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe="/", errors="replace")


# -- log lines ---------------------------------------------------------------------------------------------------------


def _plain(remark: Remark) -> str:
    return f"{quoted(remark.path)}:{remark.line or 1}: {remark.level}: {remark.text} [{quoted(remark.rule)}]"


def _github(remark: Remark) -> str:
    properties = {"file": remark.path, "line": str(remark.line or 1), "title": remark.rule}
    given = ",".join(f"{name}={_escaped(quoted(value), ':,')}" for name, value in properties.items())
    return f"::{_GITHUB[remark.level]} {given}::{_escaped(remark.text)}"


def _azure(remark: Remark) -> str:
    kind = "error" if remark.level == "error" else "warning"
    properties = {"type": kind, "sourcepath": remark.path, "linenumber": str(remark.line or 1), "code": remark.rule}
    given = "".join(f"{name}={_azure_escaped(quoted(value), ';]')};" for name, value in properties.items())
    return f"##vso[task.logissue {given}]{_azure_escaped(remark.text)}"


def _escaped(text: str, more: str = "") -> str:
    """Percent signs, line ends and ``more`` as percent and two hexadecimal digits, as GitHub reads them."""
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{more}" else char for char in text)


def _azure_escaped(text: str, more: str = "") -> str:
    """The same for Azure, where a percent sign itself is written ``%AZP25``."""
    return "".join("%AZP25" if char == "%" else f"%{ord(char):02X}" if char in f"\r\n{more}" else char for char in text)


_LINES: Mapping[Style, Callable[[Remark], str]] = {"plain": _plain, "github": _github, "azure": _azure}
