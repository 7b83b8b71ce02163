"""RECORD held against the content of a wheel: as a set, by size, and by hash.

``docs/spec/wheel.md`` ("RECORD") gives the rules (PEP 376, PEP 627, binary distribution format).
"""

from __future__ import annotations

import binascii
import hashlib
import io
import re
from collections.abc import Set
from typing import Any, Final, NamedTuple

from verifier.errors import Refused
from verifier.wheels.snapshot import Contents
from verifier.wheels.wheel_paths import shown

MAX_RECORD_BYTES: Final = 8 << 20

_ALGORITHMS: Final = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_NAMED: Final = 3  # offending paths that a message names
_SIGNATURES: Final = ("RECORD.jws", "RECORD.p7s")


class Entry(NamedTuple):
    """What RECORD says of one file: hash algorithm, hash as it is written, and size in bytes."""

    algorithm: str
    stated: str
    size: int

    def new(self, content: bytes = b"") -> Any:
        """A hash object of the algorithm."""
        return _ALGORITHMS[self.algorithm](content)

    def state(self, digest: bytes) -> str:
        """A digest as RECORD would write it."""
        return f"{self.algorithm}={_written(digest).decode()}"


def check_record(files: Contents, dist_info: str) -> None:
    """Refuse unless RECORD describes exactly these files.

    Args:
        files: all files of the wheel. Their sizes and sha256 are known, so none but RECORD is unpacked, unless it
            states hashes of another kind.
        dist_info: the directory that holds RECORD, without a closing slash.

    Raises:
        Refused: ``wheel.record``.
    """
    own = f"{dist_info}/RECORD"
    if own not in files:
        raise Refused("wheel.record", "the wheel has no RECORD", expected=shown(own))
    if _is_common(files, dist_info):
        return
    entries = parse_record(files[own], dist_info)
    _same_set({own, *entries}, files.keys())
    for path, entry in entries.items():
        _check(path, entry, files)


def _is_common(files: Contents, dist_info: str) -> bool:
    """Whether RECORD is, but for the order of its lines, what tools write of these very files: then all rules hold.

    Any other, good or bad, is for :func:`parse_record` and :func:`_check`.
    """
    own = f"{dist_info}/RECORD"
    record = files[own]
    if len(record) > MAX_RECORD_BYTES or any(f"{dist_info}/{name}" in files for name in _SIGNATURES):
        return False
    lines = record.removesuffix(b"\n").split(b"\n")
    # Without quotes, and with two commas a line, a line is a row, and what stands between the commas its columns.
    if len(lines) != len(files) or b'"' in record or b"\r" in record or record.count(b",") != 2 * len(lines):
        return False
    expected = {
        b"%b,sha256=%b,%d" % (path.encode(), _written(sha256), size)
        for path, (_, _, size, _, sha256) in files.places.items()
        if path != own
    }
    return {*expected, f"{own},,".encode()} == set(lines)


def _written(digest: bytes) -> bytes:
    """A digest in URL-safe base64 without padding."""
    return binascii.b2a_base64(digest, newline=False).rstrip(b"=").translate(_URL_SAFE)


def parse_record(record: bytes, dist_info: str) -> dict[str, Entry]:
    """What RECORD says of each file but itself.

    Args:
        record: its bytes.
        dist_info: the directory that it is of, without a closing slash.

    Raises:
        Refused: ``wheel.record``.
    """
    own = f"{dist_info}/RECORD"
    rows = _rows(record)
    for name in _SIGNATURES:
        if f"{dist_info}/{name}" in rows:
            raise Refused("wheel.record", f"the wheel holds {name}, which RECORD cannot cover and nothing here checks")
    if own not in rows:
        raise Refused("wheel.record", "a file of the wheel is missing from RECORD", found=shown(own))
    digest, size = rows.pop(own)
    if digest or size:
        raise Refused("wheel.record", "RECORD states its own hash or size", found=shown(f"{digest},{size}"))
    return {path: _entry(path, *columns) for path, columns in rows.items()}


def _check(path: str, entry: Entry, files: Contents) -> None:
    """Refuse unless a file is what RECORD says."""
    size = files.size(path)
    if size != entry.size:
        raise Refused(
            "wheel.record",
            f"RECORD states another size of {shown(path)}, or none",
            found=str(entry.size),
            expected=f"{size}",
        )
    is_known = entry.algorithm == "sha256"
    actual = entry.state(files.sha256(path) if is_known else entry.new(files[path]).digest())
    if actual != entry.stated:
        raise Refused(
            "wheel.record",
            f"the content of {shown(path)} is not what RECORD says",
            found=actual,
            expected=shown(entry.stated),
        )


def _rows(record: bytes) -> dict[str, tuple[str, str]]:
    """Path to (hash, size), as written."""
    if len(record) > MAX_RECORD_BYTES:
        found, expected = f"{len(record)} bytes", f"at most {MAX_RECORD_BYTES} bytes"
        raise Refused("wheel.record", "RECORD is too long", found=found, expected=expected)
    import csv  # a millisecond, for who meets a new wheel

    rows: dict[str, tuple[str, str]] = {}
    try:
        for row in csv.reader(io.StringIO(record.decode("utf-8"), newline=""), strict=True):
            if len(row) != 3:
                raise Refused("wheel.record", "a row of RECORD has not three columns", found=shown(",".join(row)))
            path, digest, size = row
            if path in rows:
                raise Refused("wheel.record", "RECORD names a path twice", found=shown(path))
            rows[path] = (digest, size)
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused("wheel.record", "RECORD is not CSV in UTF-8", found=str(error)) from error
    return rows


def _same_set(recorded: Set[str], present: Set[str]) -> None:
    for paths, what in (
        (present - recorded, "a file of the wheel is missing from RECORD"),
        (recorded - present, "RECORD names a file that the wheel does not hold"),
    ):
        if paths:
            raise Refused("wheel.record", what, found=", ".join(shown(path) for path in sorted(paths)[:_NAMED]))


def _entry(path: str, stated: str, size: str) -> Entry:
    algorithm, _, _ = stated.partition("=")
    if algorithm not in _ALGORITHMS:
        raise Refused(
            "wheel.record",
            f"RECORD has no strong hash of {shown(path)}",
            found=shown(stated),
            expected="sha256, sha384 or sha512",
        )
    if _SIZE.fullmatch(size) is None:
        raise Refused("wheel.record", f"RECORD states another size of {shown(path)}, or none", found=shown(size))
    return Entry(algorithm, stated, int(size))
