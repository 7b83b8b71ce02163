"""Backup of a deployment while it runs, and its restoration.

A backup is one tar file, its owner's alone: description, policy, online keys, what lies in ``server/`` (of the embedded
database a snapshot that SQLite itself makes), the public tree, and ``backup.json`` with the sha256 of every file. Never
the offline keys, nor the demo's principals.

Nobody publishes while the database, the head and the timestamp are read; so the public tree in it is never ahead of the
database. What is named by its content is copied after that, and never changes.

What was restored says so (:mod:`crl_server.storage.restored`), whichever engine its database is of: nothing is
published from it until ``loadlock recover --from`` has raised the list above whatever hosts may have seen of its lost
successor.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from crl_server.layout import Layout
from crl_server.lists.public_files import HEAD, TIMESTAMP, kind_of, make_folders
from crl_server.lists.public_tree import MAX_ENVELOPE
from crl_server.lists.publishing import Position
from crl_server.records.audit import verify_log
from crl_server.storage.locking import exclusive
from crl_server.storage.restored import leave_note
from crl_server.storage.sqlite import sqlite_store
from crl_server.trust.repository import Repository
from crl_server.trust.signing import DIRECTORY_MODE
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.files import read_capped, sync_directory
from verifier.formats.revocations import MAX_BASE
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Digest, Hex, Name, Time
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind, open_list

MODE = 0o600
"""A backup holds the online keys: it is its owner's alone."""
MAX_FILES = 1_000_000
"""How many files a backup may hold."""
MAX_INDEX = 256 * 1024 * 1024
"""Size cap of ``backup.json`` in bytes."""
INDEX = "backup.json"
DATABASE = "server/loadlock.sqlite"
TOP = ("deployment.json", "policy.toml")
FOLDERS = ("trusted-roots", "online", "server", "public")


class Index(Document, frozen=True, kw_only=True):
    """``backup.json``: of which deployment, when it was made, and every file with its sha256."""

    v: Literal[1]
    deployment: Name
    made: Time
    files: dict[str, Digest]


class Summary(NamedTuple):
    """What a backup holds: how many files and bytes, whether the database, and the list that it was made at."""

    files: int
    size: int
    database: bool
    epoch: int
    seq: int


# -- making -----------------------------------------------------------------------------------------------------------


def back_up(layout: Layout, file: Path, now: datetime) -> Summary:
    """Back a deployment up, and verify what was written.

    Args:
        layout: its directory.
        file: the new file.
        now: the moment (aware, UTC).

    Raises:
        UsageError: ``usage.exists``; ``usage.deployment``.
        Refused: ``backup.damaged``: what was written does not verify; it is removed again.
        Unreachable: ``io.failed``.
    """
    if os.path.lexists(file):
        raise UsageError("usage.exists", "there is something already", found=str(file))
    deployment = layout.deployment().deployment
    with _failing("the backup cannot be written"), tempfile.TemporaryDirectory(prefix=".backup-", dir=file.parent) as d:
        place = Path(d)
        first = _first(layout, place)
        part = place / "backup.tar"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as stream:
            _write(stream, deployment, [*first, *_rest(layout, {name for name, _ in first})], now)
            stream.flush()
            os.fsync(stream.fileno())
        summary = check(part, now)
        os.link(part, file)
        sync_directory(file.parent)
    return summary


def _first(layout: Layout, place: Path) -> list[tuple[str, Path]]:
    """What belongs together, copied while nobody publishes: all but what is named by its content."""
    found: list[tuple[str, Path]] = []
    with exclusive(layout.lock):
        if layout.database.is_file():
            snapshot = place / "loadlock.sqlite"
            with closing(sqlite3.connect(layout.database)) as source, closing(sqlite3.connect(snapshot)) as target:
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE").close()
            found.append((DATABASE, snapshot))
        for name, path in _files(layout):
            if name.startswith("public/") and name[len("public/") :] not in (HEAD, TIMESTAMP, "enrolment.json"):
                continue
            copy = place / "first" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            found.append((name, copy))
    return found


def _rest(layout: Layout, known: set[str]) -> Iterator[tuple[str, Path]]:
    for name, path in _files(layout):
        if name not in known and name.startswith("public/"):
            yield name, path


def _files(layout: Layout) -> Iterator[tuple[str, Path]]:
    for name in TOP:
        yield name, layout.root / name
    for folder in FOLDERS:
        for path in sorted((layout.root / folder).rglob("*")):
            name = path.relative_to(layout.root).as_posix()
            if path.is_file() and not path.is_symlink() and _wanted(name):
                yield name, path


def _wanted(name: str) -> bool:
    if name.startswith("public/"):
        return kind_of(name.removeprefix("public/")) is not None
    return not name.startswith("server/loadlock.sqlite") and not name.endswith(".lock")


def _write(stream: io.BufferedWriter, deployment: Name, files: list[tuple[str, Path]], now: datetime) -> None:
    digests: dict[str, Digest] = {}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in files:
            with open(path, "rb") as content:
                size = os.fstat(content.fileno()).st_size
                digests[name] = _digest(content)
                content.seek(0)
                archive.addfile(_member(name, size), content)
        index = dumps(Index(v=1, deployment=deployment, made=Time.of(now), files=digests))
        archive.addfile(_member(INDEX, len(index)), io.BytesIO(index))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, MODE
    return member


def _digest(content: io.BufferedReader) -> Digest:
    return Digest(f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}")


# -- verifying and restoring ------------------------------------------------------------------------------------------


def check(file: Path, now: datetime) -> Summary:
    """Demand that a backup is whole, and that what is in it verifies and belongs together.

    Raises:
        Refused: ``backup.damaged``.
        UsageError: ``io.failed``.
        Unreachable: ``io.failed``.
    """
    with _failing("the backup cannot be read"), tempfile.TemporaryDirectory(prefix=".check-", dir=file.parent) as d:
        return _unpacked(file, Path(d), now)


def restore(file: Path, directory: Path, actor: str, now: datetime) -> Summary:
    """Restore a deployment, with a note for its database, embedded or not, that this is a restored one.

    Args:
        file: the backup.
        directory: where; nothing may be there yet.
        actor: who restores, for the audit log.
        now: the moment (aware, UTC).

    Raises:
        Refused: ``backup.damaged``; nothing is left behind.
        UsageError: ``usage.exists``; ``io.failed``.
        Unreachable: ``io.failed``.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError("usage.exists", "there is something already", found=str(directory))
    directory = directory.absolute()
    with _failing("the deployment cannot be restored"):
        directory.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.restore-"))
        try:
            summary = _unpacked(file, building, now)
            layout = Layout(building)
            for private in (layout.online, layout.settings.parent):
                private.chmod(DIRECTORY_MODE)
            leave_note(layout, actor, now)
            building.chmod(0o755)
            os.rename(building, directory)
            sync_directory(directory.parent)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return summary


def _unpacked(file: Path, place: Path, now: datetime) -> Summary:
    try:
        digests = _unpack(file, place)
        index = parse(read_capped(place / INDEX, MAX_INDEX, INDEX), Index, limit=MAX_INDEX, what=INDEX)
    except (tarfile.TarError, LoadlockError, EOFError) as error:
        raise _damaged(getattr(error, "what", None) or str(error)) from error
    (place / INDEX).unlink()
    if digests.keys() - {INDEX} != index.files.keys() or any(digests[k] != v for k, v in index.files.items()):
        wrong = sorted(k for k in {*digests, *index.files} - {INDEX} if digests.get(k) != index.files.get(k))
        raise _damaged(f"another content than it was made with: {', '.join(wrong[:3])}")
    layout = Layout(place)
    try:
        current = _check_content(layout, index, now)
    except LoadlockError as error:
        raise _damaged(f"[{error.code}] {error.what}: {error.found}") from error
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return Summary(len(index.files), size, layout.database.is_file(), current.head.epoch, current.head.seq)


def _unpack(file: Path, place: Path) -> dict[str, Digest]:
    """Write every member below ``place``: regular files with the names that a backup gives, each once."""
    digests: dict[str, Digest] = {}
    with tarfile.open(file, mode="r:") as archive:
        for member in archive:
            plain = member.isreg() and not member.issparse()  # whose holes would fill the disk
            if len(digests) >= MAX_FILES or not plain or member.name in digests or not _own(member.name):
                raise _damaged(f"a member that no backup has: {ascii(member.name)[:100]}")
            target = place / member.name
            make_folders(place, member.name)
            content = archive.extractfile(member)
            assert content is not None  # noqa: S101 - of a regular file there is content
            with open(target, "xb") as stream:
                shutil.copyfileobj(content, stream)
            target.chmod(MODE if not member.name.startswith("public/") else 0o644)
            with open(target, "rb") as stream:
                digests[member.name] = _digest(stream)
    return digests


def _own(name: str) -> bool:
    path = PurePosixPath(name)
    if name in (*TOP, INDEX, DATABASE):
        return True
    plain = str(path) == name and not path.is_absolute() and ".." not in path.parts
    return plain and len(path.parts) > 1 and path.parts[0] in FOLDERS and _wanted(name)


def _check_content(layout: Layout, index: Index, now: datetime) -> RevocationList:
    trust = Repository(layout.trust).trust()
    if {index.deployment, layout.deployment().deployment, trust.deployment} != {index.deployment}:
        raise Refused("trust.deployment", "files of several deployments", found=trust.deployment)

    def files(kind: FileKind, name: Hex) -> bytes:
        return read_capped(layout.list_file(kind, name), MAX_BASE, f"list file ({kind})")

    current = open_list(read_capped(layout.head, MAX_ENVELOPE, "revocation head"), files, trust, now)
    if layout.database.is_file():
        _check_database(layout, current)
    return current


def _check_database(layout: Layout, current: RevocationList) -> None:
    with closing(sqlite3.connect(layout.database)) as connection:
        try:
            (found,) = connection.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.DatabaseError as error:
            raise _damaged(str(error)) from error
    if found != "ok":
        raise _damaged(f"the database: {found}")
    store = sqlite_store(layout.database)
    try:
        with store.read() as ledger:
            verify_log(ledger.audit_lines(), current.head.audit)
            position = Position.read(ledger)
    finally:
        store.close()
    head = current.head
    if (head.epoch, head.seq, head.issued) > (position.epoch, position.seq, position.issued or ""):
        raise Refused("server.behind", "the list is ahead of the database", found=f"seq {position.seq}")


def _damaged(found: str) -> Refused:
    return Refused("backup.damaged", "the backup is not usable", found=found[:300])


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unreachable("io.failed", what, found=error.strerror or str(error)) from error
