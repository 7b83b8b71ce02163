"""What an advisory says is affected, as standing rules. Pure: documents in, rules out.

Only what is about Python distributions counts; a withdrawn advisory says nothing. One that cannot be evaluated is
refused: to leave it out would pass for "not affected".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import Version

from crl_server.lists.rules import SEVERITIES, Severity
from verifier.errors import FormatError
from verifier.formats.advisory import (
    ECOSYSTEM,
    FIRST,
    Advisory,
    Affected,
    can_be_evaluated,
    events_of,
    moment_of,
    version_of,
)
from verifier.formats.strict_json import quoted

MAX_SUMMARY = 500
"""How many characters of a summary a note takes."""
MAX_VERSIONS = 1000
"""How many single versions an advisory may name of a package beside its ranges."""


class Interval(NamedTuple):
    """Versions from ``first`` on, up to ``last`` and, where ``closed``, with it; None for no end."""

    first: Version
    last: Version | None
    closed: bool

    def holds(self, version: Version) -> bool:
        """Whether a version lies inside."""
        if version < self.first or self.last is None:
            return version >= self.first
        return version <= self.last if self.closed else version < self.last

    @property
    def specifiers(self) -> str:
        """As a version range; empty for all versions."""
        parts = [] if self.first == FIRST else [f">={self.first}"]
        parts += [] if self.last is None else [f"<{'=' if self.closed else ''}{self.last}"]
        return ",".join(parts)


class Finding(NamedTuple):
    """What is to be denied on an advisory's word."""

    advisory: str
    match: dict[str, Any]
    severity: Severity | None
    note: str


def findings(advisories: Iterable[Advisory]) -> tuple[list[Finding], list[str]]:
    """What advisories say is affected, each rule once, and the ids of those that say nothing.

    Raises:
        FormatError: ``format.schema``: an advisory cannot be evaluated.
    """
    found: dict[tuple[str, str], Finding] = {}
    nothing = []
    for advisory in advisories:
        moment_of(advisory)
        mine = [] if advisory.withdrawn is not None else list(_findings(advisory))
        for one in mine:
            found.setdefault((one.match["purl"], one.match.get("range", "")), one)
        if not mine:
            nothing.append(quoted(advisory.id))
    return list(found.values()), nothing


def _findings(advisory: Advisory) -> Iterator[Finding]:
    severity = next((known for known in SEVERITIES if known == advisory.rating), None)
    note = quoted(f"{advisory.id}: {advisory.summary}" if advisory.summary else advisory.id)[:MAX_SUMMARY]
    for affected in advisory.affected:
        if affected.package is not None and affected.package.ecosystem == ECOSYSTEM:
            purl = f"pkg:pypi/{canonicalize_name(affected.package.name)}"
            for versions in _ranges(advisory.id, affected):
                match = {"purl": purl} | ({"range": versions} if versions else {})
                yield Finding(quoted(advisory.id), match, severity, note)


def _ranges(name: str, affected: Affected) -> list[str]:
    """The ranges of one entry, and each version that it names beside them."""
    if not can_be_evaluated(affected):
        raise _unusable(name, "does not say which versions are affected, or not in a way that can be read")
    intervals = [one for entry in affected.ranges if entry.type == "ECOSYSTEM" for one in _intervals(events_of(entry))]
    ranges = [one.specifiers for one in intervals]
    singles: dict[Version, str] = {}
    for text in affected.versions:
        version = version_of(text)
        if version is None:
            raise _unusable(name, f"names a version that is none: {quoted(text)[:80]}")
        if not any(interval.holds(version) for interval in intervals):
            singles.setdefault(version, f"=={version}")
    if len(singles) > MAX_VERSIONS:
        raise _unusable(name, f"names more than {MAX_VERSIONS} single versions")
    return list(dict.fromkeys([*ranges, *singles.values()]))


def _intervals(events: Sequence[tuple[Version, int, str]]) -> Iterator[Interval]:
    """The intervals that events in their order begin and end (OSV schema, "Evaluation")."""
    first: Version | None = None
    for point, _, kind in events:
        if kind == "introduced":
            first = point if first is None else first
        elif first is not None:
            yield Interval(first, point, kind == "last_affected")
            first = None
    if first is not None:
        yield Interval(first, None, False)


def _unusable(name: str, found: str) -> FormatError:
    return FormatError(
        "format.schema", f"the advisory {quoted(name)[:80]} cannot be evaluated", found=found,
        expected="ranges or a list of PEP 440 versions; leave it out to go on without it",
    )  # fmt: skip
