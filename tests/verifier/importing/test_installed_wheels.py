"""Real wheels, unpacked by a real installer, imported from what lies in the site directory; compiled code included."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.verifier.importing.children import bare_directory, run_child
from tests.verifier.importing.real_wheels import fetch
from tests.verifier.installations import install

SERVE = """
import hashlib, zipfile
from verifier.installed.content import read_installed
sys.path.append(str(site))
for path in map(Path, wheels):
    with zipfile.ZipFile(path) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
        content = archive.read(record)
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    register(read_installed(str(site), content, record.partition("/")[0], path.name, digest))
"""
CASES = {
    "markupsafe": (
        "from markupsafe import _speedups as part; import markupsafe; print(markupsafe.escape('<'))",
        "&lt;",
    ),
    "pillow": ("from PIL import Image, _imaging as part; print(Image.new('L', (2, 3)).size)", "(2, 3)"),
    "attrs": ("import attr as part, attrs; print(attrs.make_class('C', ['x'])(1).x)", "1"),
}


def child(bare: Path, site: Path, wheels: list[Path], code: str) -> list[str]:
    """The lines that a host prints which serves what is installed, by the RECORDs of these wheels."""
    places = f"site, wheels = {str(site)!r}, {[str(wheel) for wheel in wheels]!r}\n"
    return run_child(bare, places + SERVE + code, []).splitlines()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_directory(tmp_path_factory.mktemp("bare"))


def compiled(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if ".so" in name]


@pytest.mark.parametrize("name", CASES)
def test_an_installed_wheel_is_imported_and_a_changed_one_refused(bare: Path, tmp_path: Path, name: str) -> None:
    wheels = fetch([name])
    site = install(tmp_path / "site", *wheels)
    statement, said = CASES[name]
    told = child(bare, site, wheels, f"{statement}\nprint(part.__file__)\n")
    assert told[0] == said
    assert told[1].startswith("loadlock:sha256:")
    for name_ in compiled(wheels[0]) or ["attr/_make.py"]:
        (site / name_).write_bytes((site / name_).read_bytes() + b"\n")
    refused = child(bare, site, wheels, f"try:\n    {statement}\nexcept Refused as error:\n    print(error.code)\n")
    assert refused == ["installed.changed"]
