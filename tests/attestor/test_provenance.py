"""The provenance says what the specification's page says, and nothing that was not seen."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace

from attestor.building.build import BuildResult
from attestor.describing.provenance import LOCAL_BUILDER, make_provenance
from tests.attestor.conftest import ROOT
from verifier.formats.statement import BUILD_TYPE, Provenance, parse_provenance
from verifier.formats.strict_json import dumps

SBOM = b'{"bomFormat":"CycloneDX"}'


def make(built: BuildResult, invocation_id: str = "") -> Provenance:
    return make_provenance(built, builder_id=LOCAL_BUILDER, sbom=SBOM, invocation_id=invocation_id)


def test_every_input_has_a_digest_and_is_named_once(built: BuildResult) -> None:
    inputs = make(built).buildDefinition.resolvedDependencies
    assert [entry.name for entry in inputs[:2]] == ["source", "interpreter"]
    assert {entry.name: entry.digest["sha256"] for entry in inputs[2:]} == {
        wheel.file_name: wheel.sha256 for wheel in built.inputs
    }
    assert all(entry.digest for entry in inputs)
    assert len({entry.name for entry in inputs}) == len(inputs)


def test_the_source_is_the_commit_and_the_tree(built: BuildResult) -> None:
    source = make(built).buildDefinition.resolvedDependencies[0]
    assert source.digest == {"gitCommit": built.source.commit, "gitTree": built.source.tree}
    assert source.uri == "git+https://host.example/reporting/csv-exporter.git"


def test_an_sdist_is_named_by_purl_and_digest(built: BuildResult) -> None:
    sdist = replace(
        built.source, kind="sdist", commit="", tree="", repository="", ref="", sha256="1" * 64, purl="pkg:pypi/x@1"
    )
    made = make(replace(built, source=sdist)).buildDefinition
    assert made.externalParameters.sdist == "pkg:pypi/x@1"
    assert made.resolvedDependencies[0].digest == {"sha256": "1" * 64}


def test_a_repository_without_an_address_claims_none(built: BuildResult) -> None:
    made = make(replace(built, source=replace(built.source, repository=""))).buildDefinition
    assert made.externalParameters.repository == ""
    assert made.resolvedDependencies[0].uri == ""


def test_what_was_fixed_is_recorded(built: BuildResult) -> None:
    fixed = make(built).buildDefinition.internalParameters
    assert fixed["umask"] == "0022"
    assert fixed["network"] in {"none", "not-cut"}
    assert fixed["reproducibility"] == "not checked"
    assert fixed["environment"]["SOURCE_DATE_EPOCH"] == str(built.source.epoch)


def test_a_second_build_is_recorded_with_how_much_was_varied(built: BuildResult) -> None:
    fixed = make(replace(built, varied=("path", "time zone"))).buildDefinition.internalParameters
    assert fixed["reproducibility"] == "checked: bit-identical, 2 varied conditions"


def test_only_the_metadata_differs_between_two_equal_builds(built: BuildResult) -> None:
    one, other = make(built, "https://ci.example/runs/1"), make(built, "https://ci.example/runs/2")
    assert one.buildDefinition == other.buildDefinition
    assert one.runDetails.metadata != other.runDetails.metadata


def test_the_reader_understands_it(built: BuildResult) -> None:
    made = make(built)
    assert parse_provenance(dumps(made)) == made
    assert made.buildDefinition.buildType == BUILD_TYPE
    assert made.runDetails.byproducts[1].digest == {"sha256": hashlib.sha256(SBOM).hexdigest()}


def test_the_specifications_example_has_exactly_these_fields(built: BuildResult) -> None:
    page = (ROOT / "docs" / "spec" / "provenance.md").read_text()
    block = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert block is not None
    example = json.loads(block[1])
    made = json.loads(dumps(make(built)))
    for part in ("internalParameters", "resolvedDependencies"):
        assert type(example["buildDefinition"][part]) is type(made["buildDefinition"][part])
    assert set(example["buildDefinition"]) == set(made["buildDefinition"])
    assert set(example["buildDefinition"]["internalParameters"]) == set(made["buildDefinition"]["internalParameters"])
    assert set(example["runDetails"]["builder"]) == set(made["runDetails"]["builder"])
    names = [entry["name"] for entry in example["runDetails"]["byproducts"]]
    assert names == [entry["name"] for entry in made["runDetails"]["byproducts"]]
    parameters = re.findall(r"^\| `(\w+)` \|", page.partition("`externalParameters`\n")[2].partition("\n## ")[0], re.M)
    assert parameters == list(type(make(built).buildDefinition.externalParameters).__struct_fields__)
