"""Licences: what was not agreed to is named, and so is what states none."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from attestor.checking.review import review
from attestor.describing.licences import ALLOWED, Licences, check_allowed, licences_of
from attestor.pipeline import Attestation, Options, attest_wheel
from tests.attestor.conftest import EXAMPLE, NOW, Signers
from tests.wheels import build_wheel
from verifier.errors import Refused, UsageError
from verifier.formats.manifest import Dependency
from verifier.formats.text import Digest, Version


@pytest.mark.parametrize(
    ("expression", "objection"),
    [
        ("", "it states no licence expression"),
        ("GPL-3.0-only", "'GPL-3.0-only' was not agreed to"),
        ("MIT AND GPL-3.0-only", "'MIT AND GPL-3.0-only' was not agreed to"),
        ("MIT OR", "'MIT OR' is no SPDX expression"),
        ("Whatever", "'Whatever' is no SPDX expression"),
        ("LicenseRef-Proprietary", "'LicenseRef-Proprietary' is no SPDX expression"),
        ("Apache-2.0 WITH LLVM-exception", "'Apache-2.0 WITH LLVM-exception' was not agreed to"),
    ],
)
def test_what_was_not_agreed_to_is_an_objection(expression: str, objection: str) -> None:
    assert Licences([("alpha", expression)], ALLOWED).objections() == [f"alpha: {objection}"]


@pytest.mark.parametrize(
    "expression",
    ["MIT", "mit", "(MIT)", "MIT OR GPL-3.0-only", "MIT AND (Apache-2.0 OR GPL-3.0-only)",
     "GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-Ours"],
)  # fmt: skip
def test_what_was_agreed_to_is_none(expression: str) -> None:
    allowed = (*ALLOWED, "GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-Ours")
    assert Licences([("alpha", expression)], allowed).objections() == []


@pytest.mark.parametrize("name", ["Whatever", "", "MIT AND"])
def test_a_licence_that_does_not_exist_cannot_be_agreed_to(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_allowed([name])
    assert caught.value.code == "usage.arguments"


def test_what_exists_can_be_agreed_to() -> None:
    assert check_allowed(ALLOWED) == ALLOWED
    assert check_allowed(["LicenseRef-Ours"]) == ("LicenseRef-Ours",)


def test_the_wheel_and_every_locked_dependency_are_asked(attested: Attestation, signers: Signers) -> None:
    found = review(attested.wheel, attested.file_name, attested.attestations, {"builder": [signers.builder.public_key]})
    unknown = Dependency(name="alpha", version=Version("1.0"), sha256=Digest(f"sha256:{'0' * 64}"))
    manifest = msgspec.structs.replace(attested.manifest, dependencies=(unknown,))
    licences = licences_of(found, manifest, ALLOWED)
    assert list(licences.stated) == [("csv-exporter", "Apache-2.0"), ("alpha", "")]


def test_what_the_wheel_carries_inside_is_admitted_and_its_licence_reviewed(signers: Signers, tmp_path: Path) -> None:
    metadata = "Name: gpl-lib\nVersion: 1.0\nLicense-Expression: GPL-3.0-only\n"
    files: dict[str, str | bytes] = {
        "csv_exporter.py": "",
        "csv_exporter_libs/gpl_lib-1.0.dist-info/METADATA": metadata,
    }
    wheel = build_wheel(files, name="csv-exporter", version="1.0.0")
    (tmp_path / wheel.file_name).write_bytes(wheel.data)
    declared = json.loads((EXAMPLE / "PLUGIN_MANIFEST.json").read_text())
    (tmp_path / "m.json").write_text(json.dumps(declared))
    options = Options(manifest=tmp_path / "m.json")
    with pytest.raises(Refused) as caught:
        attest_wheel(tmp_path / wheel.file_name, options, signers.builder, now=NOW)
    assert caught.value.code == "sbom.not-allowed"
    (tmp_path / "m.json").write_text(json.dumps(declared | {"sdk_allowlist": ["gpl-lib==1.0"]}))
    made = attest_wheel(tmp_path / wheel.file_name, options, signers.builder, now=NOW)
    found = review(made.wheel, made.file_name, made.attestations, {"builder": [signers.builder.public_key]})
    objections = licences_of(found, made.manifest, ALLOWED).objections()
    assert "gpl-lib (inside the wheel): '(GPL-3.0-only)' was not agreed to" in objections
