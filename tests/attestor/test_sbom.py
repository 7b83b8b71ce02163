"""The SBOM: valid, the same bytes every time, complete, and silent about where things came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from attestor.building.build import BuildResult
from attestor.building.wheelhouse import LockedWheel
from attestor.checking.leaks import LeakGate
from attestor.describing.dependencies import Dependencies, HostDependency, LockedDependency
from attestor.describing.embedded import EmbeddedSbomDiffers, check_embedded_sbom
from attestor.describing.sbom import REQUIREMENT, Version, make_embedded_sbom, make_sbom
from attestor.describing.vendored import PROVIDED_BY
from tests.wheels import build_wheel
from verifier.errors import Refused
from verifier.formats.sbom import parse_sbom
from verifier.wheels.wheel import Snapshot, read_wheel

WHEN = datetime(2026, 1, 21, 12, tzinfo=UTC)
ALPHA = LockedWheel("alpha", "2.0", "alpha-2.0-py3-none-any.whl", "a" * 64)
BETA = LockedWheel("beta", "3.1", "beta-3.1-py3-none-any.whl", "b" * 64)
NEEDS = Dependencies(
    direct=("alpha", "pytest"),
    locked=(LockedDependency(ALPHA, ("MIT",), ("beta", "not-here")), LockedDependency(BETA, (), ())),
    host=(HostDependency("pytest", ">=8"),),
)


def snapshot(*lines: str) -> Snapshot:
    wheel = build_wheel(metadata_lines=lines)
    return read_wheel(wheel.data, wheel.file_name)


def test_metadata_that_cyclonedx_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Dependencies(("x",), (LockedDependency(LockedWheel("x", "1", "x.whl", "not a digest"), (), ()),), ())
    with pytest.raises(Refused) as caught:
        make_sbom(snapshot(), broken, timestamp=WHEN)
    assert caught.value.code == "format.schema"


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_the_same_input_gives_the_same_bytes(version: Version, built: BuildResult) -> None:
    wheel = snapshot("License-Expression: Apache-2.0")
    ways: dict[str, Any] = {"timestamp": WHEN, "version": version, "build": built}
    assert make_sbom(wheel, NEEDS, **ways) == make_sbom(wheel, NEEDS, **ways)
    assert make_embedded_sbom(wheel, NEEDS, version=version) == make_embedded_sbom(wheel, NEEDS, version=version)


def test_other_processes_give_the_same_bytes(built: BuildResult) -> None:
    # Sets and dictionaries are ordered otherwise under another hash seed.
    script = (
        "import hashlib\nfrom tests.attestor.test_sbom import NEEDS, WHEN, snapshot\n"
        "from attestor.describing.sbom import make_embedded_sbom, make_sbom\nwheel = snapshot('License: MIT')\n"
        "both = make_sbom(wheel, NEEDS, timestamp=WHEN) + make_embedded_sbom(wheel, NEEDS)\n"
        "print(hashlib.sha256(both).hexdigest())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_the_build_environment_is_the_formulation(version: Version, built: BuildResult) -> None:
    document = json.loads(make_sbom(snapshot(), NEEDS, timestamp=WHEN, version=version, build=built))
    assert document["specVersion"] == version
    (formula,) = document["formulation"]
    assert {part["name"] for part in formula["components"]} == {
        built.interpreter.implementation.lower(),
        *(wheel.name for wheel in built.inputs),
    }
    wheels = {part["purl"]: part["hashes"] for part in formula["components"] if part["type"] == "library"}
    assert wheels == {wheel.purl: [{"alg": "SHA-256", "content": wheel.sha256}] for wheel in built.inputs}
    (workflow,) = formula["workflows"]
    assert [entry["ref"] for entry in workflow["resourceReferences"]] == [
        part["bom-ref"] for part in formula["components"]
    ]
    settings = {entry["name"]: entry["value"] for entry in formula["properties"]}
    assert settings["loadlock:network"] == built.fixed.network
    assert settings["loadlock:environment:SOURCE_DATE_EPOCH"] == str(built.fixed.epoch)
    LeakGate().check(document, what="the SBOM")
    read = parse_sbom(json.dumps(document).encode())
    assert {part.name for part in read.components} == {"alpha", "beta", "pytest"}  # what built it is no part of it


def test_what_was_built_elsewhere_has_no_formulation() -> None:
    assert "formulation" not in json.loads(make_sbom(snapshot(), NEEDS, timestamp=WHEN))


def test_a_build_input_that_is_a_dependency_too_is_named_twice(built: BuildResult) -> None:
    first = built.inputs[0]
    needs = Dependencies((first.name,), (LockedDependency(first, (), ()),), ())
    document = json.loads(make_sbom(snapshot(), needs, timestamp=WHEN, build=built))
    references = [part["bom-ref"] for part in [*document["components"], *document["formulation"][0]["components"]]]
    assert len(set(references)) == len(references)


@pytest.mark.parametrize(
    ("lines", "licences"),
    [
        (["License-Expression: MIT OR Apache-2.0"], [{"expression": "MIT OR Apache-2.0"}]),
        (["License: MIT"], [{"license": {"id": "MIT"}}]),
        (["License: Our own"], [{"license": {"name": "Our own"}}]),
        (["License: " + "x" * 101, "Classifier: License :: Freeware"], [{"license": {"name": "Freeware"}}]),
        (
            ["Classifier: License :: OSI Approved :: MIT License", "Classifier: License :: Public Domain",
             "Classifier: License :: OSI Approved", "Classifier: Topic :: Utilities"],
            [{"license": {"name": "MIT License"}}, {"license": {"name": "Public Domain"}}],
        ),
        ([], None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_licences_in_each_way_of_declaring_them(version: Version, lines: list[str], licences: object) -> None:
    document = json.loads(make_sbom(snapshot(*lines), NEEDS, timestamp=WHEN, version=version))
    assert document["metadata"]["component"].get("licenses") == licences


# -- the embedded one --------------------------------------------------------------------------------------------------


def embedding(*documents: bytes) -> Snapshot:
    files = {f"sample_plugin-1.0.dist-info/sboms/{number}.cdx.json": data for number, data in enumerate(documents)}
    wheel = build_wheel({"sample_plugin/__init__.py": "", **files})
    return read_wheel(wheel.data, wheel.file_name)


def test_a_wheel_that_embeds_none_or_another_is_refused() -> None:
    expected = make_embedded_sbom(snapshot(), NEEDS)
    for wheel in (embedding(), embedding(b"{}"), embedding(expected.rstrip())):
        with pytest.raises(EmbeddedSbomDiffers) as caught:
            check_embedded_sbom(wheel, expected)
        assert (caught.value.code, caught.value.expected_bytes) == ("sbom.embedded", expected)
    assert check_embedded_sbom(embedding(b"{}", expected), expected).endswith("/sboms/1.cdx.json")


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_the_embedded_one_can_be_known_before_the_wheel_is(version: Version) -> None:
    before = make_embedded_sbom(snapshot(), NEEDS, version=version)
    assert make_embedded_sbom(embedding(before), NEEDS, version=version) == before
    document = json.loads(before)
    assert document["specVersion"] == version
    assert "hashes" not in document["metadata"]["component"]
    assert not {"timestamp", "tools"} & document["metadata"].keys()
    assert {part["name"] for part in document["components"]} == {"alpha", "beta", "pytest"}
    other = Dependencies(NEEDS.direct, NEEDS.locked[:1], NEEDS.host)
    assert json.loads(make_embedded_sbom(snapshot(), other))["serialNumber"] != document["serialNumber"]


def test_it_says_what_the_wheel_is_and_needs() -> None:
    wheel = snapshot("License-Expression: Apache-2.0")
    data = make_sbom(wheel, NEEDS, timestamp=WHEN)
    document = json.loads(data)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    root = document["metadata"]["component"]
    assert root["purl"] == "pkg:pypi/sample-plugin@1.0"
    assert root["hashes"] == [{"alg": "SHA-256", "content": wheel.digest.removeprefix("sha256:")}]
    assert root["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert document["metadata"]["timestamp"] == "2026-01-21T12:00:00+00:00"
    parts = {part["name"]: part for part in document["components"]}
    assert parts["alpha"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert "version" not in parts["pytest"]
    assert {entry["name"]: entry["value"] for entry in parts["pytest"]["properties"]} == {
        PROVIDED_BY: "host",
        REQUIREMENT: ">=8",
    }
    graph = {entry["ref"]: set(entry.get("dependsOn", [])) for entry in document["dependencies"]}
    assert graph == {
        "pkg:pypi/sample-plugin@1.0": {"pkg:pypi/alpha@2.0", "pkg:pypi/pytest"},
        "pkg:pypi/alpha@2.0": {"pkg:pypi/beta@3.1"},
        "pkg:pypi/beta@3.1": set(),
        "pkg:pypi/pytest": set(),
    }
    assert "loadlock" in {tool["name"] for tool in document["metadata"]["tools"]["components"]}


def test_what_only_the_manifest_wants_of_the_host_is_the_wheels_own_need() -> None:
    # Without it the graph had a hole, of which the library that writes it warned on the screen.
    host = (HostDependency("attrs", ""), HostDependency("beta", ""))
    needs = Dependencies(("alpha",), (LockedDependency(ALPHA, (), ("beta",)),), host)
    for wants in (needs, Dependencies((), (), host[:1])):
        document = json.loads(make_sbom(snapshot(), wants, timestamp=WHEN))
        needed = {entry["ref"]: entry.get("dependsOn", []) for entry in document["dependencies"]}
        own = needed[document["metadata"]["component"]["bom-ref"]]
        assert own == [*(["pkg:pypi/alpha@2.0"] if wants.direct else []), "pkg:pypi/attrs"]


def test_the_reader_understands_it() -> None:
    wheel = snapshot()
    read = parse_sbom(make_sbom(wheel, NEEDS, timestamp=WHEN))
    assert (read.name, read.version, read.wheel) == ("sample-plugin", "1.0", wheel.digest)
    assert {part.name for part in read.components} == {"alpha", "beta", "pytest"}


VENDORED = "Metadata-Version: 2.4\nName: Some_Lib\nVersion: 1.02\nLicense-Expression: MIT\n"


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_what_the_wheel_carries_inside_is_listed_and_has_to_be_admitted(version: Version) -> None:
    files = {
        "p/__init__.py": "",
        "p/_vendor/some_lib-1.2.dist-info/METADATA": VENDORED,
        "p/_vendor/old.egg-info/PKG-INFO": "Name: old\nVersion: 3\nLicense: BSD-3-Clause\n",
        "p/_vendor/METADATA": VENDORED,
    }
    wheel = build_wheel(files, name="p")
    data = make_sbom(read_wheel(wheel.data, wheel.file_name), NEEDS, timestamp=WHEN, version=version)
    root = json.loads(data)["metadata"]["component"]
    assert [(part["purl"], part.get("licenses")) for part in root["components"]] == [
        ("pkg:pypi/old@3", [{"license": {"id": "BSD-3-Clause"}}]),
        ("pkg:pypi/some-lib@1.2", [{"license": {"id": "MIT"}}]),
    ]  # fmt: skip
    assert {part.name for part in parse_sbom(data).components} == {"alpha", "beta", "pytest", "old", "some-lib"}
    assert json.loads(data)["compositions"] == [{"aggregate": "unknown", "assemblies": [root["bom-ref"]]}]


@pytest.mark.parametrize("metadata", ["", "Name: some lib\nVersion: 1\n", "Name: x\nVersion: one\n", "\xff"])
def test_what_does_not_say_what_it_is_is_refused(metadata: str) -> None:
    wheel = build_wheel({"p/__init__.py": "", "p/_vendor/x-1.dist-info/METADATA": metadata}, name="p")
    with pytest.raises(Refused) as caught:
        make_sbom(read_wheel(wheel.data, wheel.file_name), NEEDS, timestamp=WHEN)
    assert caught.value.code == "wheel.metadata"
    assert "p/_vendor/x-1.dist-info" in caught.value.found


def test_it_gives_nothing_away() -> None:
    LeakGate().check(json.loads(make_sbom(snapshot(), NEEDS, timestamp=WHEN)), what="the SBOM")


def test_another_wheel_has_another_serial_number() -> None:
    one = json.loads(make_sbom(snapshot(), NEEDS, timestamp=WHEN))
    other = json.loads(make_sbom(snapshot("License-Expression: MIT"), NEEDS, timestamp=WHEN))
    assert one["serialNumber"] != other["serialNumber"]
