"""An attested wheel is an ordinary wheel: pip and uv install it as it is, from a folder with everything beside it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from attestor.building.wheelhouse import uv_program
from attestor.commands.places import WheelFiles
from tests.interop.conftest import Released
from verifier.wheels.wheel import read_wheel

ISOLATED = {
    "pip": [sys.executable, "-m", "pip", "install", "--isolated", "--quiet", "--disable-pip-version-check"],
    "uv": [uv_program(), "pip", "install", "--no-config", "--offline", "--quiet", "--python", sys.executable],
}


@pytest.mark.parametrize("installer", sorted(ISOLATED))
def test_an_installer_takes_the_wheel_unchanged(released: Released, tmp_path: Path, installer: str) -> None:
    files = WheelFiles(tmp_path / "dist" / released.file_name)
    files.wheel.parent.mkdir()
    files.wheel.write_bytes(released.wheel)
    files.attestations.write_bytes(released.attestations)
    hashed = tmp_path / "requirements.txt"
    digest = hashlib.sha256(released.wheel).hexdigest()
    hashed.write_text(f"csv-exporter==1.0.0 --hash=sha256:{digest}\n")
    target = tmp_path / "site"
    subprocess.run(
        [
            *ISOLATED[installer], "--no-index", "--find-links", files.wheel.parent, "--no-deps", "--require-hashes",
            "--target", target, "--requirement", hashed,
        ],
        check=True,
    )  # fmt: skip
    assert files.wheel.read_bytes() == released.wheel
    content = read_wheel(released.wheel, released.file_name).files
    installed = {path: data for path, data in content.items() if not path.endswith(".dist-info/RECORD")}
    assert installed
    for path, data in installed.items():
        assert (target / path).read_bytes() == bytes(data)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import csv_exporter; print(csv_exporter.__file__)"
    said = subprocess.run([sys.executable, "-I", "-c", code, target], capture_output=True, text=True, check=True)
    assert Path(said.stdout.strip()).is_relative_to(target)
