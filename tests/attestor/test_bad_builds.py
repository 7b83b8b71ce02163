"""What goes wrong while building, and what people then read; nothing is handed over, half-written or half-signed."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from attestor.building.apart import without_network
from attestor.building.wheelhouse import Wheelhouse
from attestor.pipeline import Options, attest_source
from tests.attestor.conftest import NOW, Project, Signers
from tests.attestor.test_build import probe, refusal
from tests.attestor.test_cli import code_of, elsewhere  # noqa: F401 - elsewhere is used by pytest
from verifier.errors import LoadlockError

# -- the backend -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'nobody.home'\n"}, "nobody.home"),
        ({"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = ''\n"}, "backend"),
        ({"pyproject.toml": "[build-system]\nbuild-backend = 'hatchling.build'\n"}, "requires"),
        ({"pyproject.toml": "[build-system]\nrequires = []\nrequires = ['hatchling']\n"}, "overwrite"),
        ({"pyproject.toml": "[build-system]\nrequires = []\n\n[build-system]\nrequires = []\n"}, "build-system"),
        (
            {
                "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'b'\nbackend-path = ['..']\n",
                "b.py": "",
            },
            "inside source tree",
        ),
    ],
)
def test_a_backend_that_is_missing_or_ambiguous_is_named(
    project: Project, house: Wheelhouse, files: dict[str, str], said: str
) -> None:
    error = refusal(project(files), house)
    assert error.code == "build.failed"
    assert said in error.found
    assert error.todo


def test_a_backend_that_gives_no_wheel_is_refused(project: Project, house: Wheelhouse) -> None:
    files = probe()
    files["backend.py"] = "def build_wheel(where, settings=None, metadata=None): return 'probe-1.0-py3-none-any.whl'\n"
    error = refusal(project(files), house)
    assert error.code in {"build.failed", "io.failed"}


# -- what it wants -----------------------------------------------------------------------------------------------------


def test_a_backend_that_wants_the_network_is_told_that_there_is_none(project: Project, house: Wheelhouse) -> None:
    work = "__import__('urllib.request').request.urlopen('http://127.0.0.1:9/data', timeout=5)"
    error = refusal(project(probe(work=work)), house)
    assert error.code == "build.failed"
    assert "urlopen" in error.found
    if without_network().network == "none":
        assert "Network is unreachable" in error.found
        assert "network" in error.todo


def test_a_build_that_writes_into_its_environment_is_refused(project: Project, house: Wheelhouse) -> None:
    work = "open(os.path.join(os.environ['VIRTUAL_ENV'], 'lib', 'sitecustomize.py'), 'w').write('')"
    error = refusal(project(probe(work=work)), house)
    assert error.code == "build.outside"
    assert "sitecustomize.py" in error.found


def test_a_build_that_changes_a_program_of_its_environment_is_refused(project: Project, house: Wheelhouse) -> None:
    work = "os.chmod(os.path.join(os.environ['VIRTUAL_ENV'], 'pyvenv.cfg'), 0o600)"
    assert refusal(project(probe(work=work)), house).code == "build.outside"


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_while_building_is_told_and_nothing_is_kept(
    repository: Path, house: Wheelhouse, signers: Signers
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(LoadlockError) as caught:
            attest_source(repository, Options(house=house), signers.builder, now=NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.code, caught.value.exit_status) == ("io.failed", 3)


def test_a_place_that_cannot_be_written_keeps_nothing(
    repository: Path, signers: Signers, build_wheels: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "dist" / "csv_exporter-1.0.0-py3-none-any.whl.attestations.jsonl"
    taken.mkdir(parents=True)
    words = ("--key", signers.place / "builder.pem", "--build-wheelhouse", build_wheels)
    assert code_of("attest", repository, "-o", taken.parent, *words) == "io.failed"
    assert list(taken.parent.iterdir()) == [taken]
