"""What verification sees of an SBOM: every component that comes along, wherever it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from verifier.formats.sbom import Component, parse_sbom

DIGEST = "a" * 64


def document(listed: list[Any], **subject: Any) -> bytes:
    hashes = [{"alg": "SHA-256", "content": DIGEST}]
    described = {"type": "library", "name": "p", "version": "1", "hashes": hashes} | subject
    return json.dumps(
        {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": described}, "components": listed}
    ).encode()


def names(data: bytes) -> list[str]:
    return [component.name for component in parse_sbom(data).components]


@pytest.mark.parametrize("kind", ["library", "framework", "application", "container", "data", "of-tomorrow"])
def test_components_of_any_type_are_seen(kind: str) -> None:
    assert names(document([{"type": kind, "name": "x"}])) == ["x"]


def test_files_of_the_wheel_are_no_components_of_their_own() -> None:
    assert names(document([{"type": "file", "name": "p/__init__.py"}])) == []


def test_what_stands_below_a_file_is_seen() -> None:
    vendored = {"type": "library", "name": "vendored"}
    assert names(document([{"type": "file", "name": "p/_vendor.zip", "components": [vendored]}])) == ["vendored"]


def test_nested_components_are_seen_at_any_depth_and_in_their_order() -> None:
    inner = {"type": "library", "name": "b", "components": [{"type": "library", "name": "c"}]}
    listed = [{"type": "library", "name": "a", "components": [inner]}, {"type": "library", "name": "d"}]
    assert names(document(listed)) == ["a", "b", "c", "d"]


def test_components_of_the_subject_are_seen() -> None:
    assert names(document([], components=[{"type": "library", "name": "inside"}])) == ["inside"]


def test_what_is_read_of_a_component() -> None:
    found = parse_sbom(document([{"type": "library", "name": "x", "version": "1", "purl": "pkg:pypi/x@1", "cpe": "y"}]))
    assert found.components == (Component("x", "1", "pkg:pypi/x@1"),)
    assert (found.name, found.version, found.wheel) == ("p", "1", f"sha256:{DIGEST}")


@pytest.mark.parametrize(
    "hashes",
    [
        [],
        [{"alg": "SHA-512", "content": "a" * 128}],
        [{"alg": "SHA-256", "content": "A" * 64}],
        [{"alg": "SHA-256", "content": DIGEST}, {"alg": "SHA-256", "content": "b" * 64}],
    ],
)
def test_a_subject_that_does_not_say_which_wheel(hashes: list[dict[str, str]]) -> None:
    assert parse_sbom(document([], hashes=hashes)).wheel is None
