"""The vectors of tests/vectors/formats, and the parser of each format."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from verifier.formats import (
    bundle,
    dsse,
    enrolment,
    findings,
    handover,
    manifest,
    policy,
    revocations,
    sbom,
    statement,
    strict_json,
)

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "formats"
LIMIT = 1024 * 1024
PARSERS: dict[str, Callable[[bytes], object]] = {
    "attestation-set": bundle.parse_set,
    "bundle": bundle.parse_bundle,
    "certification": statement.parse_certification,
    "checkpoint": revocations.parse_checkpoint,
    "dsse": dsse.parse_envelope,
    "enrolment": enrolment.parse_enrolment,
    "handover": handover.parse_handover,
    "head": revocations.parse_head,
    "keyless-bundle": bundle.parse_bundle,
    "keyless-policy": policy.parse_policy,
    "plugin-manifest": manifest.parse_manifest,
    "policy": policy.parse_policy,
    "provenance": statement.parse_provenance,
    "rules": revocations.parse_rules,
    "sbom": sbom.parse_sbom,
    "set-file": revocations.parse_set_file,
    "signed-manifest": manifest.parse_signed_manifest,
    "statement": statement.parse_statement,
    "test-result": findings.parse_test_result,
    "vulnerabilities": findings.parse_vulnerabilities,
    "strict-json": partial(strict_json.loads, limit=LIMIT, what="document"),
}


class Vector(NamedTuple):
    """One vector and the format it belongs to."""

    format: str
    valid: str
    fields: dict[str, Any]

    @property
    def data(self) -> bytes:
        if "base64" in self.fields:
            return base64.b64decode(self.fields["base64"])
        if "parts" in self.fields:
            return "".join(text * times for text, times in self.fields["parts"]).encode()
        text: str = self.fields.get("input", self.valid)
        for old, new in self.fields.get("replace", ()):
            assert text.count(old) == 1, f"{old!r} stands there {text.count(old)} times"
            text = text.replace(old, new)
        return text.encode()

    def parse(self) -> object:
        if "limit" in self.fields:
            return strict_json.loads(self.data, limit=self.fields["limit"], what="document")
        return PARSERS[self.format](self.data)


def read(path: Path) -> list[Vector]:
    table = tomllib.loads(path.read_text("utf-8"))
    assert set(table) <= {"valid", "vector"}
    valid = table.get("valid", "")
    honest = {"name": "valid", "input": valid, "why": "what all others differ from", "origin": "own"}
    vectors = [honest, *table["vector"]] if valid else table["vector"]
    return [Vector(path.stem, valid, fields) for fields in vectors]


VECTORS = [vector for path in sorted(FOLDER.glob("*.toml")) for vector in read(path)]
