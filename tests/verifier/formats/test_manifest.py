"""The manifest as a value, and its JSON Schema: generated, published, and agreeing with the parser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.verifier.formats.vectors import VECTORS, Vector
from tools.generated_docs import SCHEMA as SCHEMA_PATH
from tools.generated_docs import schema_file
from verifier.errors import FormatError
from verifier.formats.manifest import (
    Manifest,
    SignedManifest,
    dump_manifest,
    manifest_schema,
    parse_manifest,
    parse_signed_manifest,
)

SCHEMA = Draft202012Validator(json.loads(SCHEMA_PATH.read_text("utf-8")))
OWNERS = [vector for vector in VECTORS if vector.format == "plugin-manifest"]
SIGNED = parse_signed_manifest(next(vector.data for vector in VECTORS if vector.format == "signed-manifest"))
BEYOND_A_SCHEMA = {
    "a range of host API versions that is empty",
    "a range of host API versions that is a comma",
    "a range of host API versions that is a bare version",
    "one capability twice",
    "egress without the capability",
    "one requirement of the host twice",
    "an expiry on a day that does not exist",
    "the version of the format as a float",
    "a port as a float",
    "NaN in the default configuration",
    "a plugin id and a line feed",
}
"""Vectors that the parser alone can refuse: rules between fields, PEP 440, the calendar, 1.0 (an integer to JSON
Schema), and a last line feed, which the dollar sign of Python's patterns lets pass, and that of ECMA 262 does not."""


def identity(vector: Vector) -> str:
    return str(vector.fields["name"])


# -- the schema --------------------------------------------------------------------------------------------------------


def test_the_published_schema_is_the_generated_one() -> None:
    assert SCHEMA_PATH.read_text("utf-8") == schema_file(), "write it again: python -m tools.generated_docs"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(manifest_schema())


@pytest.mark.parametrize("vector", [vector for vector in OWNERS if "code" in vector.fields], ids=identity)
def test_the_schema_refuses_what_it_can_of_what_the_parser_refuses(vector: Vector) -> None:
    try:
        document = json.loads(vector.data)
    except json.JSONDecodeError:
        return
    assert SCHEMA.is_valid(document) is (identity(vector) in BEYOND_A_SCHEMA)


@pytest.mark.parametrize("vector", [vector for vector in OWNERS if "code" not in vector.fields], ids=identity)
def test_the_schema_accepts_what_the_parser_accepts(vector: Vector) -> None:
    SCHEMA.validate(json.loads(vector.data))


def test_the_schema_accepts_a_manifest_with_every_field() -> None:
    document = json.loads(dump_manifest(full()))
    assert set(document) == {field.encode_name for field in msgspec.structs.fields(Manifest)}
    SCHEMA.validate(document)


def patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            else:
                yield from patterns(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from patterns(item)


def test_the_schema_speaks_ecma_262() -> None:
    found = list(patterns(manifest_schema()))
    assert len(found) > 10
    assert [pattern for pattern in found if re.search(r"\\[AZzGbBdws]|\(\?[P#<>i]", pattern)] == []
    assert [pattern for pattern in found if not (pattern.startswith("^") and pattern.endswith("$"))] == []


def test_nothing_that_the_build_adds_is_an_owners_to_say() -> None:
    added = set(SignedManifest.__struct_fields__) - set(Manifest.__struct_fields__)
    assert added == {
        "artifact_digest",
        "record_digest",
        "sbom_digest",
        "built_by",
        "built_at",
        "source",
        "dependencies",
    }
    assert added & set(manifest_schema()["$defs"]["Manifest"]["properties"]) == set()


# -- the value ---------------------------------------------------------------------------------------------------------


def full() -> Manifest:
    """A manifest that says something in every field."""
    return parse_manifest(
        json.dumps(
            {
                "v": 1,
                "plugin_id": "azure_embed",
                "version": "1.4.0",
                "description": "Embeds rows.",
                "owner": "team-a",
                "kind": "connector",
                "api_version": ">=2.0,<3.0",
                "maturity": "stable",
                "entry_points": {"hosts.connectors": {"azure": "azure_embed.main:Connector"}},
                "quality": {"coverage": 91, "audited": "2026-01-31T12:00:00Z"},
                "expires_at": "2027-01-31T12:00:00Z",
                "hooks": ["before_write"],
                "config_schema": {"type": "object"},
                "config_defaults": {"region": "west"},
                "capabilities": [{"name": "network", "rationale": "Calls the embedding service."}],
                "allowed_egress": [{"host": "*.example.org", "schemes": ["https"], "ports": [443]}],
                "data_classes": ["tabular"],
                "max_classification": "internal",
                "retention": "P30D",
                "redaction": ["e-mail addresses"],
                "secrets": ["API_KEY"],
                "sdk_allowlist": ["openai>=2.0,<3.0"],
                "allowed_paths": ["/var/cache/embed"],
                "limits": {"memory_mib": 512, "execution_seconds": 60, "network_requests": 100},
                "hermetic_compatible": True,
                "isolation": "process",
                "host_provided": ["httpx>=0.27"],
            }
        ).encode()
    )


def test_what_an_owner_declared_is_what_was_signed_less_what_the_build_added() -> None:
    owners = parse_manifest(
        json.dumps(
            {
                name: value
                for name, value in json.loads(dump_manifest(SIGNED)).items()
                if name in Manifest.__struct_fields__
            }
        ).encode()
    )
    assert SIGNED.declared == owners
    assert type(SIGNED.declared) is Manifest


@pytest.mark.parametrize("field", sorted(set(Manifest.__struct_fields__) - {"v"}))
def test_two_manifests_that_differ_in_one_field_differ(field: str) -> None:
    least = parse_manifest(next(vector.data for vector in OWNERS if identity(vector).startswith("nothing but")))
    changed = msgspec.structs.replace(least, capabilities=full().capabilities)
    other = msgspec.structs.replace(changed, **{field: getattr(full(), field)}) if field != "capabilities" else changed
    assert other != (least if field == "capabilities" else changed)


def test_a_manifest_that_is_built_in_the_code_keeps_the_same_rules() -> None:
    with pytest.raises(ValueError, match="allowed_egress needs the capability"):
        msgspec.structs.replace(full(), capabilities=())


def test_fields_of_the_build_are_refused_one_by_one() -> None:
    signed = json.loads(dump_manifest(SIGNED))
    owners = json.loads(dump_manifest(SIGNED.declared))
    for field in set(signed) - set(owners):
        with pytest.raises(FormatError) as caught:
            parse_manifest(json.dumps(owners | {field: signed[field]}).encode())
        assert caught.value.found == f"Object contains unknown field `{field}`"
