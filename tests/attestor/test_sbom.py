"""The SBOM: valid, the same bytes every time, complete, and silent about where things came from."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from attestor.dependencies import Dependencies, HostDependency, LockedDependency
from attestor.leaks import LeakGate
from attestor.sbom import PROVIDED_BY, REQUIREMENT, make_sbom
from attestor.wheelhouse import LockedWheel
from tests.wheels import build_wheel
from verifier.errors import Refused
from verifier.formats.sbom import parse_sbom
from verifier.wheel import Snapshot, read_wheel

WHEN = datetime(2026, 1, 21, 12, tzinfo=UTC)
ALPHA = LockedWheel("alpha", "2.0", "alpha-2.0-py3-none-any.whl", "a" * 64)
BETA = LockedWheel("beta", "3.1", "beta-3.1-py3-none-any.whl", "b" * 64)
NEEDS = Dependencies(
    direct=("alpha", "pytest"),
    locked=(LockedDependency(ALPHA, "MIT", ("beta", "not-here")), LockedDependency(BETA, "", ())),
    host=(HostDependency("pytest", ">=8"),),
)


def snapshot(*lines: str) -> Snapshot:
    wheel = build_wheel(metadata_lines=lines)
    return read_wheel(wheel.data, wheel.file_name)


def test_metadata_that_cyclonedx_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Dependencies(("x",), (LockedDependency(LockedWheel("x", "1", "x.whl", "not a digest"), "", ()),), ())
    with pytest.raises(Refused) as caught:
        make_sbom(snapshot(), broken, timestamp=WHEN)
    assert caught.value.code == "format.schema"


def test_the_same_input_gives_the_same_bytes() -> None:
    wheel = snapshot("License-Expression: Apache-2.0")
    assert make_sbom(wheel, NEEDS, timestamp=WHEN) == make_sbom(wheel, NEEDS, timestamp=WHEN)


def test_it_says_what_the_wheel_is_and_needs() -> None:
    wheel = snapshot("License-Expression: Apache-2.0")
    data = make_sbom(wheel, NEEDS, timestamp=WHEN)
    document = json.loads(data)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    root = document["metadata"]["component"]
    assert root["purl"] == "pkg:pypi/sample-plugin@1.0"
    assert root["hashes"] == [{"alg": "SHA-256", "content": wheel.digest.removeprefix("sha256:")}]
    assert root["licenses"] == [{"expression": "Apache-2.0"}]
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


def test_the_reader_understands_it() -> None:
    wheel = snapshot()
    read = parse_sbom(make_sbom(wheel, NEEDS, timestamp=WHEN))
    assert (read.name, read.version, read.wheel) == ("sample-plugin", "1.0", wheel.digest)
    assert {part.name for part in read.components} == {"alpha", "beta", "pytest"}


def test_it_gives_nothing_away() -> None:
    LeakGate().check(json.loads(make_sbom(snapshot(), NEEDS, timestamp=WHEN)), what="the SBOM")


def test_another_wheel_has_another_serial_number() -> None:
    one = json.loads(make_sbom(snapshot(), NEEDS, timestamp=WHEN))
    other = json.loads(make_sbom(snapshot("License-Expression: MIT"), NEEDS, timestamp=WHEN))
    assert one["serialNumber"] != other["serialNumber"]
