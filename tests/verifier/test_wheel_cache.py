"""What was found in a wheel is kept: just that comes back, for just these bytes, and only after it was accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec import structs

from tests.wheels import build_wheel, pack_files, wheel_files
from verifier.errors import Refused
from verifier.formats import packages
from verifier.private_cache import PrivateCache
from verifier.wheels import archive, archive_headers, core_metadata, record, wheel, wheel_cache, wheel_paths
from verifier.wheels.snapshot import KEPT_UNPACKED, Contents, Files, Snapshot, slices
from verifier.wheels.wheel import DEFAULT_LIMITS, read_wheel

LARGE = bytes(range(256)) * (KEPT_UNPACKED // 256)
WHEEL = build_wheel(
    {"sample_plugin/__init__.py": "VALUE = 1\n", "sample_plugin/large.bin": LARGE, "sample_plugin/empty": ""},
    metadata_lines=["Requires-Dist: attrs>=23", "Requires-Python: >=3.11", "License-Expression: MIT"],
)


@pytest.fixture
def cache(tmp_path: Path) -> PrivateCache:
    """An empty cache."""
    return PrivateCache(tmp_path / "cache")


def entries(cache: PrivateCache, tmp_path: Path) -> int:
    """How many values a cache holds."""
    assert cache.usable
    return len(list((tmp_path / "cache").iterdir())) - 1


def facts(snapshot: Snapshot) -> dict[str, object]:
    """All that a snapshot says, its files too."""
    named = {field: getattr(snapshot, field) for field in snapshot.__struct_fields__}
    return {**named, "files": list(snapshot.files.items())}


def test_wheel_that_is_refused_is_not_kept(cache: PrivateCache, tmp_path: Path) -> None:
    files = wheel_files({"sample_plugin.py": "", "evil.pth": "import os"})
    for _ in range(2):
        with pytest.raises(Refused) as refusal:
            read_wheel(pack_files(files), WHEEL.file_name, cache=cache)
        assert refusal.value.code == "wheel.forbidden"
    assert entries(cache, tmp_path) == 0


@pytest.mark.parametrize("place", [0, 30, 100, -30, -1])
def test_changed_wheel_is_read_again(place: int, cache: PrivateCache) -> None:
    read_wheel(WHEEL.data, WHEEL.file_name, cache=cache)
    changed = bytearray(WHEEL.data)
    changed[place] ^= 1
    with pytest.raises(Refused):
        read_wheel(bytes(changed), WHEEL.file_name, cache=cache)


@pytest.mark.parametrize("name", ["other_plugin-1.0-py3-none-any.whl", "sample_plugin-1.1-py3-none-any.whl", "x.whl"])
def test_known_wheel_under_another_name(name: str, cache: PrivateCache) -> None:
    read_wheel(WHEEL.data, WHEEL.file_name, cache=cache)
    with pytest.raises(Refused) as refusal:
        read_wheel(WHEEL.data, name, cache=cache)
    assert refusal.value.code == "wheel.metadata"


def test_known_wheel_under_stricter_caps(cache: PrivateCache) -> None:
    read_wheel(WHEEL.data, WHEEL.file_name, cache=cache)
    for limits, code in (
        (structs.replace(DEFAULT_LIMITS, entries=2), "wheel.bomb"),
        (structs.replace(DEFAULT_LIMITS, archive=len(WHEEL.data) - 1), "wheel.too-large"),
    ):
        with pytest.raises(Refused) as refusal:
            read_wheel(WHEEL.data, WHEEL.file_name, limits=limits, cache=cache)
        assert refusal.value.code == code


@pytest.mark.parametrize("what", ["READER", "sys.version", "packaging.__version__"])
def test_other_reader(what: str, cache: PrivateCache, monkeypatch: pytest.MonkeyPatch) -> None:
    read_wheel(WHEEL.data, WHEEL.file_name, cache=cache)
    recalled = wheel_cache.recall(cache, slices(WHEEL.data), WHEEL.digest, WHEEL.file_name, DEFAULT_LIMITS)
    assert recalled is not None
    monkeypatch.setattr(f"verifier.wheels.wheel_cache.{what}", "other")
    assert wheel_cache.recall(cache, slices(WHEEL.data), WHEEL.digest, WHEEL.file_name, DEFAULT_LIMITS) is None


def test_the_same_is_found_each_time(cache: PrivateCache) -> None:
    plain = read_wheel(WHEEL.data, WHEEL.file_name)
    first = read_wheel(WHEEL.data, WHEEL.file_name, cache=cache)
    second = read_wheel(WHEEL.data, WHEEL.file_name, cache=cache)
    third = read_wheel(WHEEL.data, WHEEL.file_name, cache=cache)
    assert facts(plain) == facts(first) == facts(second) == facts(third)


@pytest.mark.parametrize("starts", [0, 1, 2])
def test_nothing_is_unpacked_until_it_is_asked_for(
    starts: int, cache: PrivateCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = []

    def watched(packed: bytes | memoryview, size: int, method: int, path: str) -> bytes:
        unpacked.append(path)
        return archive.unpack(packed, size, method, path)

    monkeypatch.setattr("verifier.wheels.snapshot.unpack", watched)  # the second time, after the reader's own
    files = read_wheel(WHEEL.data, WHEEL.file_name).files
    for _ in range(starts):
        files = read_wheel(WHEEL.data, WHEEL.file_name, cache=cache).files
    assert "sample_plugin/__init__.py" in files
    assert "sample_plugin/ghost.py" not in files
    assert files.keys() & {"sample_plugin/__init__.py", "ghost"} == {"sample_plugin/__init__.py"}
    assert files.sha256("sample_plugin/large.bin") == hashlib.sha256(LARGE).digest()
    assert unpacked == []
    assert files["sample_plugin/__init__.py"] is files["sample_plugin/__init__.py"]
    assert unpacked == ["sample_plugin/__init__.py"]
    with pytest.raises(KeyError):
        files["sample_plugin/ghost.py"]


def test_large_files_are_kept_unpacked_once_they_were_used(cache: PrivateCache, tmp_path: Path) -> None:
    def files() -> Mapping[str, bytes]:
        return read_wheel(WHEEL.data, WHEEL.file_name, cache=cache).files

    assert files()["sample_plugin/__init__.py"]
    assert entries(cache, tmp_path) == 1
    assert files()["sample_plugin/large.bin"] == LARGE
    assert entries(cache, tmp_path) == 2
    for path in (tmp_path / "cache").iterdir():
        if path.stat().st_size > KEPT_UNPACKED:
            path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert files()["sample_plugin/large.bin"] == LARGE
    assert files()["sample_plugin/large.bin"] == LARGE


def test_files_are_poured_as_they_are(cache: PrivateCache, tmp_path: Path) -> None:
    files: list[Files] = [read_wheel(WHEEL.data, WHEEL.file_name).files]
    files += [read_wheel(WHEEL.data, WHEEL.file_name, cache=cache).files for _ in range(3)]
    for number, each in enumerate(files):
        for path, content in files[0].items():
            with open(tmp_path / f"{number}", "wb") as stream:
                each.pour(path, stream.fileno())
            assert (tmp_path / f"{number}").read_bytes() == content
    assert entries(cache, tmp_path) == 2


def test_cache_that_is_unusable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").mkdir(0o755)
    (tmp_path / "cache").chmod(0o755)
    cache = PrivateCache(tmp_path / "cache")
    for _ in range(2):
        assert facts(read_wheel(WHEEL.data, WHEEL.file_name, cache=cache)) == facts(
            read_wheel(WHEEL.data, WHEEL.file_name)
        )
    assert not list((tmp_path / "cache").iterdir())
    assert len(caplog.records) == 1


def test_contents_of_other_bytes_are_refused(cache: PrivateCache) -> None:
    files = read_wheel(WHEEL.data, WHEEL.file_name, cache=cache).files
    assert isinstance(files, Contents)
    mixed = Contents(slices(bytes(len(WHEEL.data))), files.places, cache)
    with pytest.raises(Refused) as refusal:
        mixed["sample_plugin/large.bin"]
    assert refusal.value.code == "wheel.archive"


def test_reader_number_is_raised_when_the_reader_changes() -> None:
    """If this fails, raise ``wheel_cache.READER`` and put down what the reader's modules are now."""
    modules = (archive, archive_headers, core_metadata, packages, record, wheel, wheel_paths)
    found = hashlib.sha256(b"".join(Path(str(module.__file__)).read_bytes() for module in modules)).hexdigest()
    assert (wheel_cache.READER, found[:16]) == (16, "843ff4acadf8efcc")
