"""Archives that two readers could understand differently are refused; what real build tools write is not."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.wheels import Entry, deflate, descriptor, pack
from verifier.errors import Refused
from verifier.wheels.archive import Limits, read_archive

A = Entry("a.py", b"a = 1\n" * 20)
B = Entry("b.py", b"b = 2\n" * 20)
TIMES = struct.pack("<2HBI", 0x5455, 5, 1, 1_700_000_000)


def one(**fields: object) -> bytes:
    return pack([Entry("a.py", A.data, **fields)])  # type: ignore[arg-type]


MALFORMED: Mapping[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no zip": lambda: b"#!/bin/sh\n" * 10,
    "truncated": lambda: pack([A, B])[:-1],
    "prepended": lambda: b"#!/bin/sh\n" + pack([A, B]),
    "prepended, offsets corrected": lambda: pack([A, B], prefix=b"#!/bin/sh\n"),
    "appended": lambda: pack([A, B], suffix=b"\0"),
    "archive comment": lambda: pack([A, B], comment=b"hello"),
    "second archive appended": lambda: pack([A]) + pack([B]),
    "gap between entries": lambda: pack([A, Entry("b.py", B.data, before=b"hidden")]),
    "hidden entry between entries": lambda: pack([A, Entry("b.py", B.data, before=pack([A])[:60])]),
    "hidden before the directory": lambda: pack([A, B], before_directory=b"hidden"),
    "hidden after the directory": lambda: pack([A, B], after_directory=b"hidden"),
    "entry left out of the directory": lambda: pack([A, B], order=[0], end={"count": 1}),
    "directory in another order": lambda: pack([A, B], order=[1, 0]),
    "one entry named by two headers": lambda: pack([A], order=[0, 0], end={"count": 2}),
    "count too low": lambda: pack([A, B], end={"count": 1}),
    "count too high": lambda: pack([A, B], end={"count": 3}),
    "counts differ": lambda: pack([A, B], end={"here": 1}),
    "several disks": lambda: pack([A, B], end={"disk": 1}),
    "directory elsewhere": lambda: pack([A, B], end={"offset": 0}),
    "directory cut short": lambda: pack([A, B], end={"size": 10}),
    "overlap": lambda: pack([A, Entry("b.py", B.data, central={"offset": 0})]),
    "offset beyond the end": lambda: one(central={"offset": 1 << 30}),
    "data into the directory": lambda: one(method=0, both={"packed": 130, "size": 130}),
    "name twice": lambda: pack([A, Entry("a.py", b"other")]),
    "directory twice": lambda: pack([Entry("d/", method=0), Entry("d/", method=0)]),
    "no central signature": lambda: one(central={"signature": b"PK\x01\x03"}),
    "no local signature": lambda: one(local={"signature": b"PK\x03\x05"}),
    "local name differs": lambda: one(local={"name": b"b.py"}),
    "local name longer": lambda: one(local={"name": b"a.pyc"}),
    "local version differs": lambda: one(local={"version": 10}),
    "local flags differ": lambda: one(local={"flags": 2}),
    "local method differs": lambda: one(local={"method": 0}),
    "local time differs": lambda: one(local={"time": 1}),
    "local date differs": lambda: one(local={"date": 0x5A22}),
    "local checksum differs": lambda: one(local={"crc": 1}),
    "local compressed size differs": lambda: one(local={"packed": 1}),
    "local size differs": lambda: one(local={"size": 1}),
    "local sizes zero without a descriptor": lambda: one(local={"crc": 0, "packed": 0, "size": 0}),
    "descriptor announced and missing": lambda: one(both={"flags": 8}),
    "descriptor without signature": lambda: one(both={"flags": 8}, descriptor=descriptor(A.data, deflate(A.data))[4:]),
    "descriptor differs": lambda: one(both={"flags": 8}, descriptor=descriptor(B.data, deflate(B.data))),
    "descriptor not announced": lambda: one(descriptor=descriptor(A.data, deflate(A.data))),
    "encrypted": lambda: one(both={"flags": 1}),
    "strong encryption": lambda: one(both={"flags": 1 << 6}),
    "masked headers": lambda: one(both={"flags": 1 << 13}),
    "patch data": lambda: one(both={"flags": 1 << 5}),
    "bzip2": lambda: one(both={"method": 12}),
    "lzma": lambda: one(both={"method": 14}),
    "zstandard": lambda: one(both={"method": 93}),
    "version 4.5": lambda: one(both={"version": 45}),
    "unknown host system": lambda: one(central={"made_by": 5 << 8}),
    "zip64 size": lambda: one(central={"size": 0xFFFFFFFF}),
    "zip64 offset": lambda: one(central={"offset": 0xFFFFFFFF}),
    "entry on another disk": lambda: one(central={"disk": 1}),
    "entry comment": lambda: one(central={"comment": b"hello"}),
    "symbolic link": lambda: one(mode=0o120777),
    "fifo": lambda: one(mode=0o010644),
    "character device": lambda: one(mode=0o020644),
    "socket": lambda: one(mode=0o140644),
    "set-user-id": lambda: one(mode=0o104755),
    "directory mode on a file": lambda: one(mode=0o040755),
    "directory attribute on a file": lambda: one(central={"external": 0x10}),
    "volume label": lambda: one(central={"external": 0x08}),
    "reparse point": lambda: one(central={"external": 0x400}),
    "file mode on a directory": lambda: pack([Entry("d/", method=0, mode=0o100644)]),
    "directory with data": lambda: pack([Entry("d/", b"data", method=0, mode=0o040755)]),
    "stored with two sizes": lambda: one(method=0, both={"size": 5}),
    "deflate stream damaged": lambda: one(packed=b"\xff" * 20),
    "deflate stream unfinished": lambda: one(packed=deflate(A.data)[:-2]),
    "data after the stream": lambda: one(packed=deflate(A.data) + b"\0"),
    "second stream after the stream": lambda: one(packed=deflate(A.data) + deflate(b"evil")),
    "longer than stated": lambda: one(both={"size": 5}),
    "shorter than stated": lambda: one(both={"size": 500}),
    "wrong checksum": lambda: one(both={"crc": 1}),
    "name not in its encoding": lambda: one(both={"name": b"\xff.py"}),
    "name not UTF-8": lambda: one(both={"name": b"\xff.py", "flags": 1 << 11}),
    "unicode path field": lambda: one(both={"extra": struct.pack("<2HBI", 0x7075, 8, 1, 0) + b"b.p"}),
    "ntfs field": lambda: one(both={"extra": struct.pack("<2H", 0x000A, 0)}),
    "field in the local header alone": lambda: one(local={"extra": TIMES}),
    "field in the central header alone": lambda: one(central={"extra": TIMES}),
    "fields differ": lambda: one(local={"extra": TIMES}, central={"extra": TIMES[:-1] + b"\1"}),
    "field cut short": lambda: one(both={"extra": TIMES[:-1]}),
    "field header cut short": lambda: one(both={"extra": b"UT"}),
    "zip64 field in both": lambda: one(both={"extra": struct.pack("<2H2Q", 1, 16, 120, 10)}),
    "zip64 field with other sizes": lambda: one(local={"extra": struct.pack("<2H2Q", 1, 16, 121, 10)}),
}


@pytest.mark.parametrize("attack", MALFORMED)
def test_malformed(attack: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_archive(MALFORMED[attack]())
    assert refusal.value.code == "wheel.archive"


SMALL = Limits(entries=3, file=1000, total=2500, ratio=5, ratio_floor=1500)

BOMBS = {
    "too many entries": pack([Entry(f"{number}.py", b"#") for number in range(4)]),
    "file too large": pack([Entry("a.py", os.urandom(1001))]),
    "total too large": pack([Entry(f"{number}.py", os.urandom(900)) for number in range(3)]),
    "ratio too high": pack([Entry(f"{number}.py", bytes(800)) for number in range(2)]),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb(bomb: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_archive(BOMBS[bomb], SMALL)
    assert refusal.value.code == "wheel.bomb"


def test_bomb_that_understates_its_size_is_not_unpacked() -> None:
    packed = deflate(bytes(100 << 20))
    lie = pack([Entry("a.py", b"", packed=packed, both={"size": 10, "crc": zlib.crc32(bytes(10))})])
    code = (
        "import resource, sys; from verifier.wheels.archive import read_archive; from verifier.errors import Refused\n"
        "data = sys.stdin.buffer.read(); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_archive(data)\n"
        "except Refused as error: print(error.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], input=lie, capture_output=True, check=True, cwd=root).stdout
    refused_for, grown_kib = out.split()
    assert refused_for == b"wheel.archive"
    assert int(grown_kib) < 50 << 10


def test_bomb_at_the_real_caps() -> None:
    quine_like = Entry("a.py", b"", both={"size": (256 << 20) + 1})
    with pytest.raises(Refused) as refusal:
        read_archive(pack([quine_like]))
    assert refusal.value.code == "wheel.bomb"


def test_sound_archive() -> None:
    archive = pack([Entry("d/", method=0, mode=0o040755), A, Entry("d/b.py", B.data, method=0), Entry("empty.py")])
    assert read_archive(archive) == {"a.py": A.data, "d/b.py": B.data, "empty.py": b""}
    assert list(read_archive(pack([B, A]))) == ["b.py", "a.py"]
    assert read_archive(pack([])) == {}


TOLERATED = {
    "descriptor": one(
        both={"flags": 8},
        local={"crc": 0, "packed": 0, "size": 0},
        descriptor=descriptor(A.data, deflate(A.data)),
    ),
    "descriptor, sizes known": one(both={"flags": 8}, descriptor=descriptor(A.data, deflate(A.data))),
    "deflate level flags": one(both={"flags": 6}),
    "times field": one(both={"extra": TIMES}),
    "redundant zip64 field": one(local={"extra": struct.pack("<2H2Q", 1, 16, len(A.data), len(deflate(A.data)))}),
    "no mode": one(mode=0),
    "mode without a kind": one(mode=0o644),
    "written on windows": one(central={"made_by": 20, "external": 0x20}),
}


@pytest.mark.parametrize("case", TOLERATED)
def test_what_real_build_tools_write(case: str) -> None:
    assert read_archive(TOLERATED[case]) == {"a.py": A.data}


class OneWay(io.RawIOBase):
    """A stream that cannot seek, so that zipfile writes data descriptors."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.written += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("seekable", [True, False])
def test_zipfile_writes_what_is_read(method: int, seekable: bool) -> None:
    target: io.BytesIO | OneWay = io.BytesIO() if seekable else OneWay()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr("pkg/a.py", A.data)
        archive.writestr("pkg/ünï.txt", "text")
    data = target.getvalue() if isinstance(target, io.BytesIO) else bytes(target.written)
    assert read_archive(data) == {"pkg/a.py": A.data, "pkg/ünï.txt": b"text"}
