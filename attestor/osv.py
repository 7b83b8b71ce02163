"""An operator's own database of advisories in the OSV format: a directory or a zip of JSON files, read strictly.

Nothing is skipped in silence. An advisory that cannot be read is counted and named; when it still says which package it
is about, that package cannot be audited, and when it does not, no package can be said to be free of known
vulnerabilities. Only what was dated by its source makes the database recent, and nothing from the future does; nor does
what is about other ecosystems, whose mirror may go on where that of Python has stopped.

The digest is that of the list which ``sha256sum`` would print of the files, sorted by name.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from attestor.severity import rating_of
from verifier.errors import FormatError, LoadlockError, UsageError
from verifier.files import read_capped
from verifier.formats.findings import NEVER, Rating, Severity
from verifier.formats.strict_json import convert, loads, quoted
from verifier.formats.text import Time

#: Caps: advisories, bytes of one, bytes of all, and bytes of a zip.
MAX_ADVISORIES = 300_000
MAX_ADVISORY = 4 * 1024 * 1024
MAX_DATABASE = 2 * 1024 * 1024 * 1024
MAX_ZIP = 1024 * 1024 * 1024
#: How far the newest advisory may lie in the future and still count as dated.
CLOCK_TOLERANCE = timedelta(minutes=5)
#: The one ecosystem that is about Python distributions, as OSV spells it.
ECOSYSTEM = "PyPI"
_ADVISORY = (".json", ".yaml", ".yml")
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d{1,12})?Z")


class _Open(msgspec.Struct, frozen=True, kw_only=True):
    """Base of structures whose other fields are left to their own standard."""


class _Package(_Open, frozen=True):
    ecosystem: str
    name: str


class _Range(_Open, frozen=True):
    type: str
    events: list[dict[str, str]] = []


class Score(_Open, frozen=True):
    """A severity as OSV writes it: ``type`` such as ``CVSS_V3``, and its vector."""

    type: str
    score: str


class _Affected(_Open, frozen=True):
    package: _Package | None = None
    ranges: list[_Range] = []
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
    affected: list[_Affected] = []
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


class Match(NamedTuple):
    """An advisory that a version is affected by, and the versions that mend it."""

    advisory: Advisory
    fixed: tuple[Version, ...]


@dataclass(frozen=True)
class Database:
    """A database as it was read.

    Args:
        digest: ``sha256:`` and the digest of the list of files.
        newest: the newest moment at which one of its advisories about Python was modified; :data:`NEVER` without any.
        count: how many advisories were read.
        unread: the names of those that could not be, sorted.
        unplaced: how many of these do not say which package they are about.
        unknown: normalised names of packages that advisories are about which cannot be evaluated.
    """

    digest: str
    newest: Time
    count: int
    unread: tuple[str, ...]
    unplaced: int
    unknown: frozenset[str]
    _by_name: dict[str, list[tuple[Advisory, _Affected]]] = field(repr=False)

    def matches(self, name: str, version: Version) -> list[Match]:
        """The advisories that affect a version of a distribution, withdrawn ones left out."""
        found: dict[str, Match] = {}
        for advisory, affected in self._by_name.get(canonicalize_name(name), ()):
            if advisory.withdrawn is None and _affects(affected, version):
                fixed = (*(found[advisory.id].fixed if advisory.id in found else ()), *_fixed(affected))
                found[advisory.id] = Match(advisory, tuple(sorted(set(fixed))))
        return list(found.values())


def read_database(place: Path, now: datetime) -> Database:
    """Read a database.

    Args:
        place: a directory (its files below, whatever their depth) or a zip.
        now: the moment, aware; an advisory from later does not make the database recent.

    Raises:
        UsageError: ``usage.arguments``: there is no such database, or it is no zip; ``format.too-large``.
    """
    reading = _Reading(now)
    for name, data in _files(place):
        reading.take(name, data)
    return reading.done()


class _Reading:
    """A database while it is being read."""

    def __init__(self, now: datetime) -> None:
        self._latest = Time.of(now + CLOCK_TOLERANCE)
        self._digests: list[tuple[bytes, str]] = []
        self._bytes = 0
        self._newest = NEVER
        self._count = 0
        self._unread: list[str] = []
        self._unplaced = 0
        self._unknown: set[str] = set()
        self._by_name: dict[str, list[tuple[Advisory, _Affected]]] = {}

    def take(self, name: str, data: bytes) -> None:
        """Read one file."""
        self._digests.append((os.fsencode(name), hashlib.sha256(data).hexdigest()))
        self._bytes += len(data)
        if len(self._digests) > MAX_ADVISORIES or self._bytes > MAX_DATABASE:
            raise _too_large(f"at most {MAX_ADVISORIES:,} advisories and {MAX_DATABASE >> 30} GiB")
        value: Any = None
        try:
            value = loads(data, limit=MAX_ADVISORY, what="advisory")
            advisory = convert(value, Advisory, what="advisory")
            self._keep(advisory, _moment(advisory))
        except FormatError:  # counted and named, with the packages it is about as far as it still tells
            self._unread.append(name)
            about = _packages(value)
            self._unplaced += not about
            self._unknown |= about

    def _keep(self, advisory: Advisory, modified: Time) -> None:
        self._count += 1
        for affected in advisory.affected:
            if affected.package is None or affected.package.ecosystem != ECOSYSTEM:
                continue
            if modified <= self._latest:
                self._newest = max(self._newest, modified)
            name = canonicalize_name(affected.package.name)
            self._by_name.setdefault(name, []).append((advisory, affected))
            if advisory.withdrawn is None and not _can_be_evaluated(affected):
                self._unknown.add(name)

    def done(self) -> Database:
        """What was read."""
        listed = b"".join(b"%s  %s\n" % (digest.encode(), name) for name, digest in sorted(self._digests))
        return Database(
            digest=f"sha256:{hashlib.sha256(listed).hexdigest()}",
            newest=self._newest,
            count=self._count,
            unread=tuple(sorted(self._unread)),
            unplaced=self._unplaced,
            unknown=frozenset(self._unknown),
            _by_name=self._by_name,
        )


# -- files -------------------------------------------------------------------------------------------------------------


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        return _directory(place)
    if place.is_file():
        return _zip(place)
    raise UsageError(
        "usage.arguments", "there is no such database", found=repr(place.name), expected="a directory or a zip"
    )


def _directory(place: Path) -> Iterator[tuple[str, bytes]]:
    for folder, _, names in os.walk(place, onerror=_cannot_list):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(place).as_posix()
            if _is_advisory(relative):
                yield relative, _read(path)


def _is_advisory(name: str) -> bool:
    """By its name; what lies hidden (a repository's own files) belongs to the folder, not to the database."""
    return name.endswith(_ADVISORY) and not any(part.startswith(".") for part in name.split("/"))


def _read(path: Path) -> bytes:
    try:
        return read_capped(path, MAX_ADVISORY, "the advisory")
    except UsageError as error:
        if error.code == "format.too-large":
            return b""  # no advisory: it will be counted among those that cannot be read
        raise


def _zip(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.stat().st_size > MAX_ZIP:
        raise _too_large(f"at most {MAX_ZIP >> 30} GiB as a zip")
    try:
        with zipfile.ZipFile(place) as archive:
            entries = [entry for entry in archive.infolist() if _is_advisory(entry.filename)]
            if len({entry.filename for entry in entries}) != len(entries):
                raise UsageError("usage.arguments", "the database holds two files of one name", found=repr(place.name))
            for entry in entries:
                yield entry.filename, _entry(archive, entry)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # of a later version, of names in no UTF-8
        raise UsageError("usage.arguments", "the database is no zip", found=repr(place.name)) from error


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """An entry's content; empty, and so unreadable, when it is too large, encrypted or damaged."""
    try:
        with archive.open(entry) as stream:
            data = stream.read(MAX_ADVISORY + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError, zlib.error):
        return b""
    return data if len(data) <= MAX_ADVISORY else b""


def _cannot_list(error: OSError) -> None:
    raise UsageError("io.failed", "the database cannot be read", found=error.strerror or "") from error


def _too_large(expected: str) -> LoadlockError:
    return UsageError("format.too-large", "the database is too large", expected=expected)


# -- advisories --------------------------------------------------------------------------------------------------------


def _moment(advisory: Advisory) -> Time:
    """When an advisory was last modified; its schema has to be one that is known, too."""
    match = _TIME.fullmatch(advisory.modified)
    try:
        if match is None or not advisory.id or advisory.schema_version.split(".")[0] != "1":
            raise ValueError("no advisory of OSV schema 1")
        return Time(f"{match[1]}Z")
    except ValueError as error:
        raise FormatError("format.schema", "the advisory is malformed", found=quoted(str(error))) from error


def _packages(value: Any) -> set[str]:
    """The Python distributions that a malformed advisory says it is about, as far as it says."""
    affected = value.get("affected") if isinstance(value, dict) else None
    entries = affected if isinstance(affected, list) else []
    packages = [entry.get("package") for entry in entries if isinstance(entry, dict)]
    return {
        str(canonicalize_name(package["name"]))
        for package in packages
        if isinstance(package, dict) and package.get("ecosystem") == ECOSYSTEM and isinstance(package.get("name"), str)
    }


def _can_be_evaluated(affected: _Affected) -> bool:
    """Whether it says which versions are affected, in terms of versions: by a list, or by ranges that can be read."""
    if affected.versions:
        return True
    ranges = [_events(entry) for entry in affected.ranges if entry.type == "ECOSYSTEM"]
    return bool(ranges) and all(ranges)


def _affects(affected: _Affected, version: Version) -> bool:
    listed = any(_version(text) == version for text in affected.versions)
    return listed or any(_within(_events(entry), version) for entry in affected.ranges if entry.type == "ECOSYSTEM")


def _within(events: list[tuple[Version, int, str]], version: Version) -> bool:
    """Whether a range holds a version (OSV schema, "Evaluation"): the last event that it has reached decides."""
    inside = False
    for point, _, kind in events:
        if kind == "introduced" and version >= point:
            inside = True
        elif (kind == "fixed" and version >= point) or (kind == "last_affected" and version > point):
            inside = False
    return inside


_ORDER = {"introduced": 0, "fixed": 1, "last_affected": 2}


def _events(entry: _Range) -> list[tuple[Version, int, str]]:
    """The events of a range in their order; none when one of them cannot be read, or nothing introduces it."""
    found = []
    for event in entry.events:
        for kind in event.keys() & _ORDER.keys():
            point = Version("0.dev0") if (kind, event[kind]) == ("introduced", "0") else _version(event[kind])
            if point is None:
                return []
            found.append((point, _ORDER[kind], kind))
    return sorted(found) if any(kind == "introduced" for _, _, kind in found) else []


def _fixed(affected: _Affected) -> Iterator[Version]:
    for entry in affected.ranges:
        if entry.type == "ECOSYSTEM":
            yield from (point for point, _, kind in _events(entry) if kind == "fixed")


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None
