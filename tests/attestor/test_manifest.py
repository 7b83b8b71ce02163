"""The owner's declaration: where it is found, what is refused, what the build adds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestor.building.build import BuildResult
from attestor.building.source import describe
from attestor.describing.dependencies import Dependencies
from attestor.describing.manifest import complete, manifest_in, manifest_of, read_manifest
from tests.attestor.conftest import EXAMPLE, NOW, Project
from verifier.errors import LoadlockError
from verifier.formats.manifest import SignedManifest, dump_manifest, parse_manifest, parse_signed_manifest
from verifier.formats.text import Digest
from verifier.wheels.wheel import read_wheel

GOOD: dict[str, Any] = json.loads((EXAMPLE / "PLUGIN_MANIFEST.json").read_text())
DIGEST = Digest("sha256:" + "0" * 64)
TABLE = """\
[tool.loadlock]
v = 1
plugin_id = "csv_exporter"
version = "1.0.0"
description = "Exports rows."
owner = "owner"
kind = "exporter"
api_version = ">=1.0,<3.0"
maturity = "stable"
entry_points.exporters.csv = "csv_exporter:export"
"""


def code_of(directory: Path) -> str:
    with pytest.raises(LoadlockError) as caught:
        manifest_of(directory)
    return caught.value.code


def finish(built: BuildResult, **changes: object) -> SignedManifest:
    return complete(
        parse_manifest(json.dumps({**GOOD, **changes}).encode()),
        read_wheel(built.wheel, built.file_name),
        sbom_digest=DIGEST,
        built_by="https://loadlock.dev/builders/local",
        built_at=NOW,
        source=built.source,
        dependencies=Dependencies((), (), ()),
    )


def test_no_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert code_of(tmp_path) == "manifest.missing"


def test_two_manifests_are_refused(tmp_path: Path) -> None:
    (tmp_path / "PLUGIN_MANIFEST.json").write_text(json.dumps(GOOD))
    (tmp_path / "pyproject.toml").write_text(TABLE)
    assert code_of(tmp_path) == "manifest.embedded-count"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "format.syntax"),
        ('{"v":1,"v":1}', "format.duplicate-key"),
        ('{"v":2}', "format.schema"),
        (json.dumps({**GOOD, "artifact_digest": DIGEST}), "format.schema"),
        (json.dumps({**GOOD, "surprise": 1}), "format.schema"),
        (" " * 300_000, "format.too-large"),
    ],
)
def test_a_malformed_manifest_is_refused(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "PLUGIN_MANIFEST.json").write_text(text)
    assert code_of(tmp_path) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[tool.loadlock", "format.syntax"),
        ("[tool.loadlock]\nv = 1\n", "format.schema"),
        (TABLE + "expires_at = 2030-01-01T00:00:00Z\n", "format.schema"),
        ("[tool]\nloadlock = 1\n", "format.schema"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert code_of(tmp_path) == code


def test_a_manifest_file_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(LoadlockError) as caught:
        read_manifest(tmp_path / "absent.json")
    assert caught.value.code == "io.failed"
    (tmp_path / "x.toml").write_bytes(b"\xff")
    with pytest.raises(LoadlockError) as caught:
        read_manifest(tmp_path / "x.toml")
    assert caught.value.code == "format.encoding"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"plugin_id": "xlsx_exporter"}, "manifest.plugin-id"),
        ({"version": "1.0.1"}, "manifest.version"),
        ({"expires_at": "2026-01-31T12:00:00Z"}, "manifest.expired"),
        ({"entry_points": {"exporters": {"csv": "elsewhere:export"}}}, "manifest.entry-point"),
    ],
)
def test_a_manifest_that_hosts_would_refuse_is_refused_here(
    built: BuildResult, changes: dict[str, object], code: str
) -> None:
    with pytest.raises(LoadlockError) as caught:
        finish(built, **changes)
    assert caught.value.code == code
    # Who attests is who can mend it: the advice of a host ("ask the owner") would send them to themselves.
    assert "owner" not in caught.value.todo


def test_the_committed_manifest_counts_not_the_one_in_the_working_tree(project: Project) -> None:
    place = project({"PLUGIN_MANIFEST.json": json.dumps(GOOD)})
    source = describe(place)
    (place / "PLUGIN_MANIFEST.json").write_text(json.dumps({**GOOD, "owner": "mallory"}))
    assert manifest_in(source).owner == "owner"


def test_json_and_toml_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TABLE)
    from_table = manifest_of(tmp_path)
    assert from_table.entry_points == {"exporters": {"csv": "csv_exporter:export"}}
    alone = tmp_path / "manifest.toml"
    alone.write_text(TABLE.replace("[tool.loadlock]\n", ""))
    assert read_manifest(alone) == from_table


def test_the_build_adds_what_only_it_knows(built: BuildResult) -> None:
    manifest = finish(built)
    wheel = read_wheel(built.wheel, built.file_name)
    assert (manifest.artifact_digest, manifest.record_digest) == (wheel.digest, wheel.record_digest)
    assert manifest.source.commit == built.source.commit
    assert manifest.declared == parse_manifest((EXAMPLE / "PLUGIN_MANIFEST.json").read_bytes())
    assert parse_signed_manifest(dump_manifest(manifest)) == manifest


def test_an_sdist_is_pinned_by_its_digest(built: BuildResult) -> None:
    sdist = replace(built.source, kind="sdist", commit="", tree="", repository="", sha256="1" * 64)
    manifest = finish(replace(built, source=sdist))
    assert (manifest.source.commit, manifest.source.sdist) == (None, "sha256:" + "1" * 64)


def test_a_manifest_that_expires_later_is_fine(built: BuildResult) -> None:
    later = f"{NOW + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert finish(built, expires_at=later).expires_at == later
