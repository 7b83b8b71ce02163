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
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import Version

from verifier.errors import FormatError, LoadlockError, UsageError
from verifier.files import read_capped
from verifier.formats.advisory import (
    ECOSYSTEM,
    MAX_ADVISORY,
    Advisory,
    Affected,
    affects,
    can_be_evaluated,
    fixes_of,
    moment_of,
)
from verifier.formats.findings import NEVER
from verifier.formats.strict_json import convert, loads
from verifier.formats.text import Time

#: Caps: advisories, bytes of one, bytes of all, and bytes of a zip.
MAX_ADVISORIES = 300_000
MAX_DATABASE = 2 * 1024 * 1024 * 1024
MAX_ZIP = 1024 * 1024 * 1024
#: How far the newest advisory may lie in the future and still count as dated.
CLOCK_TOLERANCE = timedelta(minutes=5)
_ADVISORY = (".json", ".yaml", ".yml")


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
    _by_name: dict[str, list[tuple[Advisory, Affected]]] = field(repr=False)

    def matches(self, name: str, version: Version) -> list[Match]:
        """The advisories that affect a version of a distribution, withdrawn ones left out."""
        found: dict[str, Match] = {}
        for advisory, affected in self._by_name.get(canonicalize_name(name), ()):
            if advisory.withdrawn is None and affects(affected, version):
                fixed = (*(found[advisory.id].fixed if advisory.id in found else ()), *fixes_of(affected))
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
        self._by_name: dict[str, list[tuple[Advisory, Affected]]] = {}

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
            self._keep(advisory, moment_of(advisory))
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
            if advisory.withdrawn is None and not can_be_evaluated(affected):
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
