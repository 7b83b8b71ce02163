"""Advisories in the OSV format (schema 1): what is read of one, and which versions it says are affected.

Source: "Open Source Vulnerability format" (https://ossf.github.io/osv-schema/), ``affected`` and its evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from packaging.version import InvalidVersion, Version

from verifier.errors import FormatError
from verifier.formats.findings import Rating, Severity
from verifier.formats.severity import rating_of
from verifier.formats.strict_json import quoted
from verifier.formats.text import Time

MAX_ADVISORY = 4 * 1024 * 1024
"""Size cap of an advisory in bytes."""
ECOSYSTEM = "PyPI"
"""The one ecosystem that is about Python distributions, as OSV spells it."""
FIRST = Version("0.dev0")
"""What stands for the version "0" with which a range begins that has no lower end: the lowest that there is."""
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d{1,12})?Z")


class _Open(msgspec.Struct, frozen=True, kw_only=True):
    """Base of structures whose other fields are left to their own standard."""


class Package(_Open, frozen=True):
    """A package of an ecosystem, as that spells it."""

    ecosystem: str
    name: str


class Range(_Open, frozen=True):
    """Events that begin and end what is affected; of type ``ECOSYSTEM`` where they are versions."""

    type: str
    events: list[dict[str, str]] = []


class Score(_Open, frozen=True):
    """A severity as OSV writes it: ``type`` such as ``CVSS_V3``, and its vector."""

    type: str
    score: str


class Affected(_Open, frozen=True):
    """A package, and which of its versions are affected."""

    package: Package | None = None
    ranges: list[Range] = []
    versions: list[str] = []
    severity: list[Score] = []


class Advisory(_Open, frozen=True):
    """What is read of an advisory (OSV schema 1)."""

    id: str
    modified: str
    schema_version: str = "1.0.0"
    aliases: list[str] = []
    withdrawn: str | None = None
    summary: str = ""
    affected: list[Affected] = []
    severity: list[Score] = []
    database_specific: dict[str, Any] = {}

    @property
    def rating(self) -> Rating | Literal["unknown"]:
        """How severe it is, by its worst score."""
        return rating_of([(entry.type, entry.score) for entry in self._scores], self.database_specific.get("severity"))

    @property
    def severities(self) -> tuple[Severity, ...]:
        """Its scores as they stand there, ten at most."""
        shown = {(quoted(entry.type)[:100], quoted(entry.score)) for entry in self._scores if entry.type}
        return tuple(Severity(method=method, score=score) for method, score in sorted(shown)[:10])

    @property
    def _scores(self) -> list[Score]:
        return [*self.severity, *(score for affected in self.affected for score in affected.severity)]


def moment_of(advisory: Advisory) -> Time:
    """When an advisory was last modified; its schema has to be one that is known, too."""
    match = _TIME.fullmatch(advisory.modified)
    try:
        if match is None or not advisory.id or advisory.schema_version.split(".")[0] != "1":
            raise ValueError("no advisory of OSV schema 1")
        return Time(f"{match[1]}Z")
    except ValueError as error:
        raise FormatError("format.schema", "the advisory is malformed", found=quoted(str(error))) from error


def can_be_evaluated(affected: Affected) -> bool:
    """Whether it says which versions are affected, in terms of versions: by a list, or by ranges that can be read."""
    if affected.versions:
        return True
    ranges = [events_of(entry) for entry in affected.ranges if entry.type == "ECOSYSTEM"]
    return bool(ranges) and all(ranges)


def affects(affected: Affected, version: Version) -> bool:
    """Whether a version is affected; a local one (``1.0+cpu``) as the public version that it is a build of."""
    listed = any(
        found is not None and _as_named(version, found) == found for found in map(version_of, affected.versions)
    )
    return listed or any(_within(events_of(entry), version) for entry in affected.ranges if entry.type == "ECOSYSTEM")


def _within(events: list[tuple[Version, int, str]], version: Version) -> bool:
    """Whether a range holds a version (OSV schema, "Evaluation"): the last event that it has reached decides."""
    inside = False
    for point, _, kind in events:
        reached = _as_named(version, point)
        if kind == "introduced" and reached >= point:
            inside = True
        elif (kind == "fixed" and reached >= point) or (kind == "last_affected" and reached > point):
            inside = False
    return inside


def _as_named(version: Version, other: Version) -> Version:
    """A version as it is compared with another: without its local part where that has none (PEP 440, "Version
    specifiers"), for ``1.0+cpu`` comes after ``1.0`` and is the same code.
    """
    return version if other.local or not version.local else Version(version.public)


_ORDER = {"introduced": 0, "fixed": 1, "last_affected": 2}


def events_of(entry: Range) -> list[tuple[Version, int, str]]:
    """The events of a range in their order; none when one of them cannot be read, or nothing introduces it."""
    found = []
    for event in entry.events:
        for kind in event.keys() & _ORDER.keys():
            point = FIRST if (kind, event[kind]) == ("introduced", "0") else version_of(event[kind])
            if point is None:
                return []
            found.append((point, _ORDER[kind], kind))
    return sorted(found) if any(kind == "introduced" for _, _, kind in found) else []


def fixes_of(affected: Affected) -> Iterator[Version]:
    """The versions that mend it."""
    for entry in affected.ranges:
        if entry.type == "ECOSYSTEM":
            yield from (point for point, _, kind in events_of(entry) if kind == "fixed")


def version_of(text: str) -> Version | None:
    """A version, or None for what is none."""
    try:
        return Version(text)
    except InvalidVersion:
        return None
