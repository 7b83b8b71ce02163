"""From a source to a described, signed, self-verified wheel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attestor import pipeline
from attestor.building.wheelhouse import Wheelhouse
from attestor.checking.review import Keys, review
from attestor.pipeline import ELSEWHERE, Attestation, Options, attest_source, attest_wheel
from tests.attestor.conftest import EXAMPLE, NOW, Signers, make_repository
from verifier.errors import LoadlockError
from verifier.formats.bundle import dump_set
from verifier.formats.manifest import parse_signed_manifest
from verifier.formats.statement import MANIFEST, PROVENANCE, SBOM, parse_provenance, parse_statement
from verifier.progress import WIDTH, Lines, Progress

MANIFEST_FILE = EXAMPLE / "PLUGIN_MANIFEST.json"


def code_of(place: Path, options: Options, signers: Signers) -> str:
    with pytest.raises(LoadlockError) as caught:
        attest_source(place, options, signers.builder, now=NOW)
    return caught.value.code


def edit(place: Path, **changes: object) -> Path:
    """The example's files with another manifest, in a new repository."""
    made = make_repository(place, content=EXAMPLE)
    manifest = {**json.loads(MANIFEST_FILE.read_text()), **changes}
    return make_repository(place.with_name("edited"), {"PLUGIN_MANIFEST.json": json.dumps(manifest)}, content=made)


# -- refused -----------------------------------------------------------------------------------------------------------


def test_a_dirty_tree_is_refused(repository: Path, house: Wheelhouse, signers: Signers) -> None:
    (repository / "src" / "csv_exporter" / "__init__.py").write_text("import os\n")
    assert code_of(repository, Options(house=house), signers) == "source.dirty"


def test_a_manifest_of_another_version_is_refused(tmp_path: Path, house: Wheelhouse, signers: Signers) -> None:
    assert code_of(edit(tmp_path / "x", version="1.0.1"), Options(house=house), signers) == "manifest.version"


@pytest.mark.parametrize(
    "changes",
    [
        {"description": "Ask https://alice:hunter2@host.example for more."},
        {"redaction": ["see /ho" + "me/alice/notes"]},
        {"config_defaults": {"token": "gh" + "p_" + "a" * 36}},
    ],
)
def test_a_manifest_that_gives_something_away_is_not_signed(
    tmp_path: Path, house: Wheelhouse, signers: Signers, changes: dict[str, object]
) -> None:
    assert code_of(edit(tmp_path / "x", **changes), Options(house=house), signers) == "leak.found"


def test_a_builder_id_that_gives_something_away_is_not_signed(
    repository: Path, house: Wheelhouse, signers: Signers
) -> None:
    options = Options(house=house, builder_id="https://user:token@ci.example/runner")
    assert code_of(repository, options, signers) == "leak.found"


def test_a_manifest_from_elsewhere_must_equal_the_embedded_one(
    tmp_path: Path, repository: Path, house: Wheelhouse, signers: Signers
) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**json.loads(MANIFEST_FILE.read_text()), "maturity": "alpha"}))
    assert code_of(repository, Options(manifest=other, house=house), signers) == "manifest.embedded"


def test_own_output_that_does_not_verify_is_not_handed_over(
    repository: Path, house: Wheelhouse, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "dump_set", lambda bundles: dump_set(bundles[:1]))
    assert code_of(repository, Options(house=house), signers) == "set.statement-missing"


def test_a_wheel_without_a_manifest_named_is_refused(tmp_path: Path, signers: Signers, attested: Attestation) -> None:
    (tmp_path / attested.file_name).write_bytes(attested.wheel)
    with pytest.raises(LoadlockError) as caught:
        attest_wheel(tmp_path / attested.file_name, Options(), signers.builder, now=NOW)
    assert caught.value.code == "manifest.missing"


def test_a_damaged_wheel_is_refused(tmp_path: Path, signers: Signers, attested: Attestation) -> None:
    (tmp_path / attested.file_name).write_bytes(attested.wheel + b"\0")
    with pytest.raises(LoadlockError) as caught:
        attest_wheel(tmp_path / attested.file_name, Options(manifest=MANIFEST_FILE), signers.builder, now=NOW)
    assert caught.value.code == "wheel.archive"


# -- made --------------------------------------------------------------------------------------------------------------


def test_the_set_holds_what_the_builder_says_and_the_manifest_awaits_its_owner(
    attested: Attestation, signers: Signers
) -> None:
    keys: Keys = {"builder": [signers.builder.public_key]}
    found = review(attested.wheel, attested.file_name, attested.attestations, keys)
    assert list(found.statements) == [PROVENANCE, SBOM]
    unsigned = parse_statement(attested.unsigned)
    assert unsigned.predicate_type == MANIFEST
    assert parse_signed_manifest(unsigned.predicate) == attested.manifest
    provenance = parse_provenance(found.statements[PROVENANCE].statement.predicate)
    assert provenance.runDetails.builder.id == attested.manifest.built_by
    commit = provenance.buildDefinition.resolvedDependencies[0].digest["gitCommit"]
    assert attested.manifest.source.commit == commit


def test_each_step_is_reported_in_order(repository: Path, house: Wheelhouse, signers: Signers) -> None:
    steps: list[str] = []
    progress = Progress(Lines(lambda line: steps.append(line[:WIDTH].strip())))
    attest_source(repository, Options(house=house), signers.builder, now=NOW, progress=progress)
    assert steps == [
        "source", "manifest", "build", "build again", "wheel", "dependencies", "SBOM", "leak gate", "sign",
        "verify own output",
    ]  # fmt: skip


def test_built_once_it_is_said_that_reproducibility_was_not_checked(
    repository: Path, house: Wheelhouse, signers: Signers, attested: Attestation
) -> None:
    once = attest_source(repository, Options(house=house, once=True), signers.builder, now=NOW)
    assert once.wheel == attested.wheel
    said = []
    for made in (once, attested):
        found = review(made.wheel, made.file_name, made.attestations, {"builder": [signers.builder.public_key]})
        provenance = parse_provenance(found.statements[PROVENANCE].statement.predicate)
        said.append(provenance.buildDefinition.internalParameters["reproducibility"])
    assert said == ["not checked", "checked: bit-identical, 7 varied conditions"]


def test_a_build_that_is_not_reproducible_is_not_signed(tmp_path: Path, house: Wheelhouse, signers: Signers) -> None:
    place = edit(tmp_path / "x")
    hook = "import os\nfrom hatchling.builders.hooks.plugin.interface import BuildHookInterface\n"
    hook += "class Hook(BuildHookInterface):\n    def initialize(self, version, build_data):\n"
    hook += "        open('src/csv_exporter/made.py', 'w').write(f'HOME = {os.environ[\"HOME\"]!r}')\n"
    pyproject = (place / "pyproject.toml").read_text() + "\n[tool.hatch.build.hooks.custom]\n"
    changed = make_repository(tmp_path / "hooked", {"hatch_build.py": hook, "pyproject.toml": pyproject}, content=place)
    assert code_of(changed, Options(house=house), signers) == "build.not-reproducible"
    attest_source(changed, Options(house=house, once=True), signers.builder, now=NOW)


def test_the_same_commit_gives_the_same_wheel_and_the_same_sbom(
    repository: Path, house: Wheelhouse, signers: Signers, attested: Attestation
) -> None:
    again = attest_source(repository, Options(house=house), signers.builder, now=NOW)
    assert again.wheel == attested.wheel
    assert again.manifest.sbom_digest == attested.manifest.sbom_digest


def test_of_a_wheel_built_elsewhere_no_provenance_is_claimed(
    tmp_path: Path, signers: Signers, attested: Attestation
) -> None:
    (tmp_path / attested.file_name).write_bytes(attested.wheel)
    made = attest_wheel(tmp_path / attested.file_name, Options(manifest=MANIFEST_FILE), signers.builder, now=NOW)
    found = review(made.wheel, made.file_name, made.attestations, {"builder": [signers.builder.public_key]})
    assert list(found.statements) == [SBOM]
    assert made.manifest.built_by == ELSEWHERE
    assert (made.manifest.source.commit, made.manifest.source.sdist) == (None, None)
