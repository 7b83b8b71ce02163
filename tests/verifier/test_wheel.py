"""The wheel as a whole: metadata against file name, what may not be inside, and the snapshot itself."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.metadata import InvalidMetadata, Metadata

from tests.wheels import build_wheel, metadata, pack_files, record, wheel_file, wheel_files
from verifier.errors import Refused
from verifier.wheels.core_metadata import MAX_METADATA_BYTES, METADATA_VERSIONS
from verifier.wheels.wheel import Limits, Snapshot, read_wheel

NAME = "sample_plugin-1.0-py3-none-any.whl"
DIST_INFO = "sample_plugin-1.0.dist-info"
MODULES = {"sample_plugin/__init__.py": "VALUE = 1\n"}


def read_changed(file_name: str = NAME, *, move: str = DIST_INFO, **changed: bytes | None) -> Snapshot:
    """Read a wheel whose metadata files were changed (None: left out), with a RECORD that fits the change."""
    files = wheel_files(MODULES)
    for name, content in changed.items():
        if content is None:
            del files[f"{DIST_INFO}/{name}"]
        else:
            files[f"{DIST_INFO}/{name}"] = content
    del files[f"{DIST_INFO}/RECORD"]
    files = {path.replace(DIST_INFO, move): content for path, content in files.items()}
    files[f"{move}/RECORD"] = record(files, move)
    return read_wheel(pack_files(files), file_name)


def refused(code: str, modules: dict[str, str]) -> Refused:
    with pytest.raises(Refused) as refusal:
        read_wheel(build_wheel(MODULES | modules).data, NAME)
    assert refusal.value.code == code
    return refusal.value


@pytest.mark.parametrize(
    "file_name",
    [
        "",
        "sample_plugin.whl",
        "sample_plugin-1.0-py3-none-any.zip",
        "sample_plugin-1.0-py3-none-any",
        "dir/sample_plugin-1.0-py3-none-any.whl",
        "other_plugin-1.0-py3-none-any.whl",
        "sample_plugin-1.1-py3-none-any.whl",
        "sample_plugin-one-py3-none-any.whl",
        "sample_plugin-1.0-py2.py3-none-any.whl",
        "sample_plugin-1.0-py3-none-linux_x86_64.whl",
        "sample_plugin-1.0-1-py3-none-any.whl",
        "sample_plug\u0456n-1.0-py3-none-any.whl",
        "x" * 300 + "-1.0-py3-none-any.whl",
    ],
    ids=lambda name: ascii(name)[:40],
)
def test_file_name_disagrees(file_name: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_wheel(build_wheel(MODULES).data, file_name)
    assert refusal.value.code == "wheel.metadata"


def test_the_metadata_versions_are_those_that_packaging_knows() -> None:
    """If this fails, there is a new version of the format: see what it changes, and add it here and to the page."""
    known = []
    for text in (f"{major}.{minor}" for major in range(4) for minor in range(20)):
        with contextlib.suppress(InvalidMetadata):
            known.append(Metadata.from_raw({"metadata_version": text}, validate=False).metadata_version)
    assert tuple(known) == METADATA_VERSIONS


BAD_METADATA = {
    "missing": None,
    "empty": b"",
    "not UTF-8": metadata("sample-plugin", "1.0", ["Summary: \u00fc"]).decode().encode("latin-1"),
    "another name": metadata("other-plugin", "1.0"),
    "another version": metadata("sample-plugin", "1.1"),
    "name twice": metadata("sample-plugin", "1.0", ["Name: other-plugin"]),
    "version twice": metadata("sample-plugin", "1.0", ["Version: 1.1"]),
    "no version": metadata("sample-plugin", "1.0").replace(b"Version: 1.0", b"X: 1.0"),
    "no metadata version": metadata("sample-plugin", "1.0").replace(b"Metadata-Version: 2.3\n", b""),
    "unknown metadata version": metadata("sample-plugin", "1.0").replace(b"2.3", b"9.9"),
    "homoglyph": metadata("sample-plug\u0456n", "1.0"),
    "bad version": metadata("sample-plugin", "one"),
    "bad requirement": metadata("sample-plugin", "1.0", ["Requires-Dist: ???"]),
    "bad python": metadata("sample-plugin", "1.0", ["Requires-Python: new"]),
    "python twice": metadata("sample-plugin", "1.0", ["Requires-Python: >=3.9", "Requires-Python: >=3.11"]),
    "bad licence": metadata("sample-plugin", "1.0", ["License-Expression: mine, all mine"]),
    "too long": metadata("sample-plugin", "1.0") + b"x" * MAX_METADATA_BYTES,
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_metadata(case: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_changed(METADATA=BAD_METADATA[case])
    assert refusal.value.code == "wheel.metadata"


TAG = ["py3-none-any"]
BAD_WHEEL = {
    "missing": None,
    "empty": b"",
    "not UTF-8": b"\xff" + wheel_file(TAG),
    "no list of fields": b"no field\n" + wheel_file(TAG),
    "begins as if it went on": b" more\n" + wheel_file(TAG),
    "a field that goes on": wheel_file(TAG).replace(b"Root-Is-Purelib: true", b"Root-Is-Purelib: true\n more"),
    "a field that hides in a line": wheel_file([], ["Root-Is-Purelib: true", "Generator: x\rTag: py2-none-any"]),
    "another tag": wheel_file(["py2-none-any"]),
    "further tag": wheel_file(["py3-none-any", "py2-none-any"]),
    "no tag": wheel_file([]),
    "bad tag": wheel_file(["py3"]),
    "a tag that stands for a hundred million": wheel_file(["-".join([".".join(f"a{n}" for n in range(500))] * 3)]),
    "a file of tags": wheel_file([*TAG, *(f"py3-none-a{n}" for n in range(2000))]),
    "build number": wheel_file(TAG, ["Root-Is-Purelib: true", "Build: 1"]),
    "no root": wheel_file(TAG, []),
    "root twice": wheel_file(TAG, ["Root-Is-Purelib: true", "Root-Is-Purelib: false"]),
    "bad root": wheel_file(TAG, ["Root-Is-Purelib: maybe"]),
    "version twice": wheel_file(TAG, ["Root-Is-Purelib: true", "Wheel-Version: 1.0"]),
}


@pytest.mark.parametrize("case", BAD_WHEEL)
def test_bad_wheel_file(case: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_changed(WHEEL=BAD_WHEEL[case])
    assert refusal.value.code == "wheel.metadata"


@pytest.mark.parametrize("version", ["1.1", "2.0", "0.9"])
def test_other_wheel_format(version: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_changed(WHEEL=wheel_file(TAG, version=version))
    assert refusal.value.code == "wheel.unsupported"


@pytest.mark.parametrize(
    "move",
    [
        "other_plugin-1.0.dist-info",
        "sample_plugin-1.1.dist-info",
        "sample_plugin.dist-info",
        "sample_plugin-one.dist-info",
        "sample_plugin-1.0.DIST-INFO",
        "sample_plugin-1.0.egg-info",
    ],
)
def test_dist_info_disagrees(move: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_changed(move=move)
    assert refusal.value.code == "wheel.metadata"


@pytest.mark.parametrize(
    "path",
    ["other-1.0.dist-info/METADATA", "Other-1.0.Dist-Info/METADATA", "sample.egg-info/PKG-INFO", "EGG-INFO/PKG-INFO"],
)
def test_second_identity(path: str) -> None:
    refused("wheel.metadata", {path: "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n"})


@pytest.mark.parametrize(
    "path",
    [
        "evil.pth",
        "EVIL.PTH",
        "evil.start",
        "python311._pth",
        "pyvenv.cfg",
        "sitecustomize.py",
        "SiteCustomize.py",
        "sitecustomize/__init__.py",
        "usercustomize.py",
        "usercustomize.cpython-311-x86_64-linux-gnu.so",
        "sample_plugin/a.pyc",
        "sample_plugin/a.PYC",
        "sample_plugin/a.pyo",
        "sample_plugin/__pycache__/a.cpython-311.pyc",
        "sample_plugin/__pycache__/data.txt",
        "sample_plugin-1.0.data/scripts/tool",
        "sample_plugin-1.0.data/headers/a.h",
        "sample_plugin-1.0.data/purelib/sample_plugin/b.py",
        "sample_plugin-1.0.data/platlib/sample_plugin/b.py",
        "sample_plugin-1.0.data/data/share/a",
        "other.DATA/scripts/tool",
    ],
)
def test_forbidden(path: str) -> None:
    assert path[:9] in refused("wheel.forbidden", {path: "import os\n"}).found


@pytest.mark.parametrize(
    "path",
    [
        "json.py",
        "email/__init__.py",
        "logging/extra.py",
        "ssl.cpython-311-x86_64-linux-gnu.so",
        "_socket.pyd",
        "os.pyw",
        "antigravity.py",
        "__main__.py",
        "__future__.py",
        "verifier/__init__.py",
        "verifier/errors.py",
        "attestor.py",
        "crl_server/app.py",
        "loadlock/cli.py",
    ],
)
def test_shadowing(path: str) -> None:
    refused("wheel.shadowing", {path: "EVIL = True\n"})


def test_every_module_of_the_standard_library_is_refused() -> None:
    for name in sorted(sys.stdlib_module_names):
        refused("wheel.shadowing", {f"{name}.py": ""})


def test_too_large() -> None:
    wheel = build_wheel()
    with pytest.raises(Refused) as refusal:
        read_wheel(wheel.data, wheel.file_name, limits=Limits(archive=len(wheel.data) - 1))
    assert refusal.value.code == "wheel.too-large"
    read_wheel(wheel.data, wheel.file_name, limits=Limits(archive=len(wheel.data)))


def test_snapshot() -> None:
    wheel = build_wheel(
        {
            "Sample_Plugin/__init__.py": "",
            "Sample_Plugin/data/notes.pth": "not at the root",
            "single.py": "",
            "fast.cpython-311-x86_64-linux-gnu.so": b"\x7fELF",
            "space/portion/mod.py": "",
            "sample_plugin.libs/lib.so": b"\x7fELF",
            "README.md": "hello",
        },
        name="Sample.Plugin",
        version="1.0rc1",
        tag="py2.py3-none-any",
        metadata_lines=[
            "Requires-Dist: Attrs >= 20 ; python_version < '4'",
            "Requires-Python: >=3.9",
            "License-File: X",
        ],
    )
    snapshot = read_wheel(wheel.data, wheel.file_name)
    assert snapshot.digest == wheel.digest == f"sha256:{hashlib.sha256(wheel.data).hexdigest()}"
    assert (snapshot.name, snapshot.version) == ("sample-plugin", "1.0rc1")
    assert snapshot.dist_info == "Sample.Plugin-1.0rc1.dist-info"
    recorded = snapshot.files[f"{snapshot.dist_info}/RECORD"]
    assert snapshot.record_digest == f"sha256:{hashlib.sha256(recorded).hexdigest()}"
    assert snapshot.tags == {"py2-none-any", "py3-none-any"}
    assert snapshot.root_is_purelib
    assert snapshot.top_levels == {"Sample_Plugin", "single", "fast", "space"}
    assert snapshot.metadata.requires_dist == ('Attrs>=20; python_version < "4"',)
    assert snapshot.metadata.requires_python == ">=3.9"
    assert snapshot.metadata.license_expression == ""


def test_snapshot_cannot_be_changed() -> None:
    wheel = build_wheel(MODULES)
    buffer = bytearray(wheel.data)
    snapshot = read_wheel(buffer, wheel.file_name)  # type: ignore[arg-type]
    buffer[:] = bytes(len(buffer))
    assert snapshot.digest == wheel.digest
    assert snapshot.files["sample_plugin/__init__.py"] == b"VALUE = 1\n"
    with pytest.raises(TypeError):
        snapshot.files["sample_plugin/__init__.py"] = b""  # type: ignore[index]
    with pytest.raises(AttributeError):
        snapshot.digest = ""  # type: ignore[misc]
    assert "VALUE" not in repr(snapshot)


def test_build_number() -> None:
    document = wheel_file(TAG, ["Root-Is-Purelib: false", "Build: 7b"])
    snapshot = read_changed("sample_plugin-1.0-7b-py3-none-any.whl", WHEEL=document)
    assert not snapshot.root_is_purelib


SOUND = build_wheel(MODULES)
FILES = dict(read_wheel(SOUND.data, SOUND.file_name).files)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(SOUND.data) - 1), st.integers(1, 255))
def test_one_changed_byte_is_refused_or_means_the_same(at: int, change: int) -> None:
    data = bytearray(SOUND.data)
    data[at] ^= change
    try:
        snapshot = read_wheel(bytes(data), SOUND.file_name)
    except Refused as refusal:
        assert refusal.code.startswith("wheel.")
    else:
        assert snapshot.files == FILES


def test_a_wheel_takes_no_more_memory_than_its_largest_file() -> None:
    wheel = build_wheel({f"sample_plugin/part_{number}.bin": bytes([number]) * (1 << 20) for number in range(14)})
    tracemalloc.start()
    try:
        snapshot = read_wheel(wheel.data, wheel.file_name)
        kept, peak = tracemalloc.get_traced_memory()
        assert peak < 4 << 20
        assert kept < 1 << 20
        assert snapshot.files["sample_plugin/part_3.bin"] == b"\x03" * (1 << 20)
    finally:
        tracemalloc.stop()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        read_wheel(data, SOUND.file_name)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SOUND.data) - 1), st.integers(0, len(SOUND.data) - 1), st.binary(max_size=40))
def test_any_splice_is_refused_or_means_the_same(start: int, stop: int, patch: bytes) -> None:
    data = SOUND.data[:start] + patch + SOUND.data[stop:]
    try:
        snapshot = read_wheel(data, SOUND.file_name)
    except Refused as refusal:
        assert refusal.code.startswith("wheel.")
    else:
        assert snapshot.files == FILES
