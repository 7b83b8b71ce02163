"""Wheels made in memory for tests: sound ones, and archives broken in one chosen place.

:func:`build_wheel` makes a sound wheel. :func:`pack` writes a zip archive byte by byte, so that a test can state any
field of any header: that is how the attacks are built, for real, where the standard library would not write them.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from packaging.tags import parse_tag

from verifier.wheels.snapshot import Contents, Place, slices

DATE = 0x5A21  # 2025-01-01, as DOS writes it
TIME = 0x0000

Fields = Mapping[str, int | bytes]


class Wheel(NamedTuple):
    """A wheel as it would lie on disk."""

    file_name: str
    data: bytes

    @property
    def digest(self) -> str:
        """The digest of the whole file, "sha256:<hex>"."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


@dataclass
class Entry:
    """One entry of an archive.

    ``local`` and ``central`` override single fields of one header, ``both`` of both (names as in :data:`LOCAL_FIELDS`
    and :data:`CENTRAL_FIELDS`, and ``name`` and ``extra`` as bytes). ``packed`` overrides the compressed bytes;
    ``before`` is put before the local header; ``descriptor`` is put after the data.
    """

    name: str
    data: bytes = b""
    method: int = 8
    mode: int = 0o100644
    packed: bytes | None = None
    before: bytes = b""
    descriptor: bytes = b""
    local: Fields = field(default_factory=dict)
    central: Fields = field(default_factory=dict)
    both: Fields = field(default_factory=dict)


LOCAL_FIELDS = ("signature", "version", "flags", "method", "time", "date", "crc", "packed", "size")
CENTRAL_FIELDS = ("signature", "made_by", *LOCAL_FIELDS[1:])
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")


def deflate(data: bytes) -> bytes:
    """Raw deflate, as zip archives hold it."""
    compress = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compress.compress(data) + compress.flush()


def descriptor(data: bytes, packed: bytes) -> bytes:
    """A data descriptor with signature."""
    return struct.pack("<4s3I", b"PK\x07\x08", zlib.crc32(data), len(packed), len(data))


def pack(
    entries: Sequence[Entry],
    *,
    prefix: bytes = b"",
    before_directory: bytes = b"",
    after_directory: bytes = b"",
    comment: bytes = b"",
    suffix: bytes = b"",
    end: Fields | None = None,
    order: Sequence[int] | None = None,
) -> bytes:
    """Write an archive.

    Args:
        entries: in the order of their local headers.
        prefix: put before everything, without correcting offsets for it being there (they stay true).
        before_directory: put between the last entry and the central directory.
        after_directory: put between the central directory and the end record.
        comment: the archive's comment.
        suffix: put after everything.
        end: overrides of the end record (here, count, size, offset, disk, first_disk).
        order: the order of the central directory, as indexes into ``entries``; that of ``entries`` if None.
    """
    out = bytearray(prefix)
    headers: list[bytes] = []
    for entry in entries:
        out += entry.before
        offset = len(out)
        packed = entry.packed if entry.packed is not None else entry.data if entry.method == 0 else deflate(entry.data)
        fields: dict[str, int | bytes] = {
            "version": 20,
            "flags": 0 if entry.name.isascii() else 1 << 11,
            "method": entry.method,
            "time": TIME,
            "date": DATE,
            "crc": zlib.crc32(entry.data),
            "packed": len(packed),
            "size": len(entry.data),
            "name": entry.name.encode(),
            "extra": b"",
            **entry.both,
        }
        out += _local(fields | dict(entry.local)) + packed + entry.descriptor
        defaults = {"made_by": 3 << 8 | 20, "offset": offset, "external": entry.mode << 16, "comment": b"", **fields}
        headers.append(_central(defaults | dict(entry.central)))
    out += before_directory
    start = len(out)
    for index in order if order is not None else range(len(headers)):
        out += headers[index]
    size = len(out) - start
    out += after_directory + _end({"count": len(headers), "size": size, "offset": start, **(end or {})}, comment)
    return bytes(out + suffix)


def _local(fields: Mapping[str, int | bytes]) -> bytes:
    name, extra = _bytes(fields["name"]), _bytes(fields["extra"])
    values = [fields[key] for key in LOCAL_FIELDS[1:]]
    return _LOCAL.pack(fields.get("signature", b"PK\x03\x04"), *values, len(name), len(extra)) + name + extra


def _central(fields: Mapping[str, int | bytes]) -> bytes:
    name, extra, comment = _bytes(fields["name"]), _bytes(fields["extra"]), _bytes(fields["comment"])
    values = [fields[key] for key in CENTRAL_FIELDS[1:]]
    rest = (fields.get("disk", 0), fields.get("internal", 0), fields["external"], fields["offset"])
    signature = fields.get("signature", b"PK\x01\x02")
    return _CENTRAL.pack(signature, *values, len(name), len(extra), len(comment), *rest) + name + extra + comment


def _end(fields: Mapping[str, int | bytes], comment: bytes) -> bytes:
    disks = (fields.get("disk", 0), fields.get("first_disk", 0))
    counts = (fields.get("here", fields["count"]), fields["count"])
    return _END.pack(b"PK\x05\x06", *disks, *counts, fields["size"], fields["offset"], len(comment)) + comment


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def record_row(path: str, content: bytes, algorithm: str = "sha256") -> str:
    """One row of RECORD; the path must need no quoting."""
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).rstrip(b"=").decode()
    return f"{path},{algorithm}={digest},{len(content)}"


def record(files: Mapping[str, bytes], dist_info: str) -> bytes:
    """RECORD for these files, itself included."""
    rows = [record_row(path, content) for path, content in files.items()]
    return "".join(f"{row}\n" for row in [*rows, f"{dist_info}/RECORD,,"]).encode()


def metadata(name: str, version: str, extra: Iterable[str] = ()) -> bytes:
    """METADATA with these fields and any further lines."""
    return "\n".join(["Metadata-Version: 2.3", f"Name: {name}", f"Version: {version}", *extra, "", ""]).encode()


def wheel_file(tags: Iterable[str], extra: Iterable[str] = ("Root-Is-Purelib: true",), version: str = "1.0") -> bytes:
    """The file WHEEL."""
    lines = [f"Wheel-Version: {version}", "Generator: tests", *extra, *(f"Tag: {tag}" for tag in tags), ""]
    return "\n".join(lines).encode()


def wheel_files(
    modules: Mapping[str, str | bytes],
    *,
    name: str = "sample-plugin",
    version: str = "1.0",
    tag: str = "py3-none-any",
    metadata_lines: Iterable[str] = (),
    entry_points: str = "",
) -> dict[str, bytes]:
    """All files of a sound wheel, RECORD last, for a test that breaks one of them before packing."""
    dist_info = f"{name.replace('-', '_')}-{version}.dist-info"
    files = {path: content.encode() if isinstance(content, str) else content for path, content in modules.items()}
    files[f"{dist_info}/METADATA"] = metadata(name, version, metadata_lines)
    files[f"{dist_info}/WHEEL"] = wheel_file(sorted(str(one) for one in parse_tag(tag)))
    if entry_points:
        files[f"{dist_info}/entry_points.txt"] = entry_points.encode()
    files[f"{dist_info}/RECORD"] = record(files, dist_info)
    return files


def build_wheel(
    modules: Mapping[str, str | bytes] | None = None,
    *,
    name: str = "sample-plugin",
    version: str = "1.0",
    tag: str = "py3-none-any",
    metadata_lines: Iterable[str] = (),
    entry_points: str = "",
) -> Wheel:
    """A sound wheel.

    Args:
        modules: path to content; by default one package, ``sample_plugin``, whose ``hello()`` returns "hello".
        name: the project's name; ``-`` is escaped where wheels do so.
        version: its version, canonical.
        tag: of the file name, compressed or not; WHEEL states it expanded.
        metadata_lines: further lines of METADATA, such as ``"Requires-Dist: attrs"``.
        entry_points: the content of ``entry_points.txt``.
    """
    if modules is None:
        modules = {"sample_plugin/__init__.py": "def hello() -> str:\n    return 'hello'\n"}
    files = wheel_files(
        modules, name=name, version=version, tag=tag, metadata_lines=metadata_lines, entry_points=entry_points
    )
    return Wheel(f"{name.replace('-', '_')}-{version}-{tag}.whl", pack_files(files))


def contents_of(files: Mapping[str, bytes]) -> Contents:
    """Files as the strict reader hands them out, of a wheel in which they lie one after another."""
    places: dict[str, Place] = {}
    start = 0
    for path, content in files.items():
        places[path] = (start, len(content), len(content), 0, hashlib.sha256(content).digest())
        start += len(content)
    return Contents(slices(b"".join(files.values())), places)


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """An archive of these files as they are."""
    return pack([Entry(path, content) for path, content in files.items()])
