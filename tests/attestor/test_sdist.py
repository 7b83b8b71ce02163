"""The sdist beside the wheel: built from the same commit, in the same environment, and named in the provenance."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from attestor.building.build import build
from attestor.building.source import describe
from attestor.building.variation import build_twice
from attestor.building.wheelhouse import Wheelhouse
from attestor.describing.provenance import LOCAL_BUILDER, make_provenance
from attestor.pipeline import Attestation, Options, attest_source
from tests.attestor.conftest import NOW, Project, Signers
from tests.attestor.test_cli import code_of, run
from tests.attestor.test_variation import sound
from verifier.errors import LoadlockError
from verifier.formats.bundle import parse_set
from verifier.formats.statement import Resource, parse_provenance, parse_statement

# A hook to be put after a backend that makes wheels.
HOOK = """
def build_sdist(sdist_directory, config_settings=None):
    with open(os.path.join(sdist_directory, "{name}"), "w") as file:
        file.write({content})
    return "{name}"
"""


def project_with(name: str, content: str) -> dict[str, str]:
    files = sound()
    files["backend.py"] += HOOK.format(name=name, content=content)
    return files


def byproduct(made: Attestation) -> Resource | None:
    """What the provenance says of the sdist."""
    payload = parse_set(made.attestations)[0].envelope.unverified_payload
    named = parse_provenance(parse_statement(payload).predicate).runDetails.byproducts
    return next((one for one in named if one.name == "sdist"), None)


def test_it_is_built_twice_and_named_by_its_digest(repository: Path, house: Wheelhouse, signers: Signers) -> None:
    made = attest_source(repository, Options(house=house, sdist=True), signers.builder, now=NOW)
    assert made.sdist is not None
    assert (made.sdist.file_name, made.sdist.same) == ("csv_exporter-1.0.0.tar.gz", True)
    with tarfile.open(fileobj=io.BytesIO(made.sdist.data)) as archive:
        assert "csv_exporter-1.0.0/pyproject.toml" in archive.getnames()
    told = byproduct(made)
    assert told is not None
    assert (told.uri, told.digest) == ("pkg:pypi/csv-exporter@1.0.0", {"sha256": made.sdist.sha256})
    assert told.annotations == {"reproducibility": "checked: bit-identical"}


def test_none_is_built_where_none_is_asked_for(attested: Attestation) -> None:
    assert attested.sdist is None
    assert byproduct(attested) is None


def test_built_once_that_is_said(repository: Path, house: Wheelhouse, signers: Signers) -> None:
    made = attest_source(repository, Options(house=house, sdist=True, once=True), signers.builder, now=NOW)
    told = byproduct(made)
    assert told is not None
    assert told.annotations == {"reproducibility": "not checked"}


def test_one_that_differs_is_recorded_and_refuses_nothing(project: Project, house: Wheelhouse) -> None:
    source = describe(project(project_with("probe-1.0.tar.gz", "os.environ['TZ']")))
    made = build_twice(source, house, now=NOW, sdist=True)
    assert made.sdist is not None
    assert (made.sdist.data, made.sdist.same) == (b"UTC", False)
    told = make_provenance(made, builder_id=LOCAL_BUILDER).runDetails.byproducts[-1]
    assert (told.name, told.annotations) == ("sdist", {"reproducibility": "checked: differs"})


@pytest.mark.parametrize("name", ["probe.tar.gz", "probe-1.0.whl", "x"])
def test_one_with_another_name_than_sdists_have_is_refused(project: Project, house: Wheelhouse, name: str) -> None:
    with pytest.raises(LoadlockError) as caught:
        build(describe(project(project_with(name, "''"))), house, now=NOW, sdist=True)
    assert caught.value.code == "build.failed"


def test_a_backend_that_makes_no_sdists_says_so(project: Project, house: Wheelhouse) -> None:
    with pytest.raises(LoadlockError) as caught:
        build(describe(project(sound())), house, now=NOW, sdist=True)
    assert caught.value.code == "build.failed"


def test_of_an_sdist_or_a_wheel_none_is_built(
    repository: Path, signers: Signers, build_wheels: Path, tmp_path: Path
) -> None:
    words = ("-o", tmp_path / "dist", "--key", signers.place / "builder.pem", "--build-wheelhouse", build_wheels)
    made = run("attest", repository, *words, "--sdist").value
    assert sorted(path.suffix for path in (tmp_path / "dist").iterdir()).count(".gz") == 1
    assert code_of("attest", made["sdist"], *words, "--sdist") == "usage.arguments"
    assert code_of("attest", "--wheel", made["wheel"], *words, "--sdist") == "usage.arguments"
