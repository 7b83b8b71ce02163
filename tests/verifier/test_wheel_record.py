"""RECORD and content are the same set, by size and by strong hash."""

from __future__ import annotations

import pytest

from tests.wheels import pack_files, record, record_row, wheel_files
from verifier.errors import Refused
from verifier.wheels.record import MAX_RECORD_BYTES
from verifier.wheels.wheel import read_wheel

MODULE = "sample_plugin/__init__.py"
DIST_INFO = "sample_plugin-1.0.dist-info"
RECORD = f"{DIST_INFO}/RECORD"
SOURCE = b"VALUE = 1\n"


def read_with(record_bytes: bytes | None = None, **changes: bytes) -> None:
    """Read a sound wheel with another RECORD, or with further files that RECORD does not know of."""
    files = wheel_files({MODULE: SOURCE})
    if record_bytes is not None:
        files[RECORD] = record_bytes
    files |= {f"{DIST_INFO}/{name.replace('__', '.')}": content for name, content in changes.items()}
    read_wheel(pack_files(files), "sample_plugin-1.0-py3-none-any.whl")


def sound() -> str:
    return wheel_files({MODULE: SOURCE})[RECORD].decode()


ROW = record_row(MODULE, SOURCE)
DIGEST = ROW.split(",")[1]

BROKEN = {
    "empty": "",
    "missing row": sound().replace(f"{ROW}\n", ""),
    "extra row": sound() + "sample_plugin/ghost.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n",
    "row twice": sound() + f"{ROW}\n",
    "own row missing": sound().replace(f"{RECORD},,\n", ""),
    "own row twice": sound() + f"{RECORD},,\n",
    "own row with a hash": sound().replace(f"{RECORD},,", f"{RECORD},{DIGEST},"),
    "own row with a size": sound().replace(f"{RECORD},,", f"{RECORD},,10"),
    "hash missing": sound().replace(DIGEST, ""),
    "size missing": sound().replace(f"{DIGEST},10", f"{DIGEST},"),
    "hash and size missing": sound().replace(f"{DIGEST},10", ","),
    "size wrong": sound().replace(f"{DIGEST},10", f"{DIGEST},11"),
    "size with a sign": sound().replace(f"{DIGEST},10", f"{DIGEST},+10"),
    "size with a zero": sound().replace(f"{DIGEST},10", f"{DIGEST},010"),
    "size in other digits": sound().replace(f"{DIGEST},10", f"{DIGEST},\u0661\u0660"),
    "hash of other content": sound().replace(ROW, record_row(MODULE, b"VALUE = 2\n")),
    "hash padded": sound().replace(DIGEST, f"{DIGEST}="),
    "hash in hex": sound().replace(DIGEST, "sha256=" + "0" * 64),
    "md5": sound().replace(ROW, record_row(MODULE, SOURCE, "md5")),
    "sha1": sound().replace(ROW, record_row(MODULE, SOURCE, "sha1")),
    "sha224": sound().replace(ROW, record_row(MODULE, SOURCE, "sha224")),
    "algorithm in capitals": sound().replace("sha256", "SHA256"),
    "unknown algorithm": sound().replace(DIGEST, DIGEST.replace("sha256", "sha3_256")),
    "two columns": sound().replace(ROW, f"{MODULE},{DIGEST}"),
    "four columns": sound().replace(ROW, f"{ROW},"),
    "blank line": sound() + "\n",
    "open quote": sound() + '"',
    "backslashes": sound().replace(MODULE, MODULE.replace("/", "\\")),
    "dotted path": sound().replace(MODULE, f"./{MODULE}"),
    "byte order mark": "\ufeff" + sound(),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken(case: str) -> None:
    assert BROKEN[case] != sound()
    with pytest.raises(Refused) as refusal:
        read_with(BROKEN[case].encode())
    assert refusal.value.code == "wheel.record"


def test_not_utf8() -> None:
    with pytest.raises(Refused) as refusal:
        read_with(b"\xff" + sound().encode())
    assert refusal.value.code == "wheel.record"


def test_too_long() -> None:
    with pytest.raises(Refused) as refusal:
        read_with(sound().encode() + b" " * MAX_RECORD_BYTES)
    assert refusal.value.code == "wheel.record"


def test_no_record() -> None:
    files = wheel_files({MODULE: SOURCE})
    del files[RECORD]
    with pytest.raises(Refused) as refusal:
        read_wheel(pack_files(files), "sample_plugin-1.0-py3-none-any.whl")
    assert refusal.value.code == "wheel.record"


@pytest.mark.parametrize("name", ["RECORD__jws", "RECORD__p7s"])
def test_signature_files(name: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_with(**{name: b"{}"})
    assert refusal.value.code == "wheel.record"


def test_signature_file_that_record_covers() -> None:
    files = wheel_files({MODULE: SOURCE})
    del files[RECORD]
    files[f"{DIST_INFO}/RECORD.jws"] = b"{}"
    files[RECORD] = record(files, DIST_INFO)
    with pytest.raises(Refused) as refusal:
        read_wheel(pack_files(files), "sample_plugin-1.0-py3-none-any.whl")
    assert refusal.value.code == "wheel.record"


def test_content_changed() -> None:
    files = wheel_files({MODULE: SOURCE})
    files[MODULE] = b"VALUE = 2\n"
    with pytest.raises(Refused) as refusal:
        read_wheel(pack_files(files), "sample_plugin-1.0-py3-none-any.whl")
    assert refusal.value.code == "wheel.record"
    assert MODULE in str(refusal.value)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_strong_hashes(algorithm: str) -> None:
    read_with(sound().replace(ROW, record_row(MODULE, SOURCE, algorithm)).encode())


def test_windows_line_ends_and_quotes() -> None:
    read_with(sound().replace(ROW, ROW.replace(MODULE, f'"{MODULE}"')).replace("\n", "\r\n").encode())
