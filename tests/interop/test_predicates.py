"""Our statements against the published lists of fields: SLSA provenance v1, verification summary v1, CycloneDX.

The lists are those of the SLSA specification 1.1 (build provenance, verification summary) and of in-toto's attestation
framework 1.0 (statement, resource descriptor, field types), written down here by hand: name, whether it has to be
there, and what it is.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.interop.conftest import Released
from verifier.formats.statement import CERTIFICATION, MANIFEST, PROVENANCE, SBOM

Check = Callable[[Any], None]


class Field(NamedTuple):
    """A field: what it is, and whether it has to be there."""

    check: Check
    required: bool = False


def text(value: Any) -> None:
    assert isinstance(value, str)


def uri(value: Any) -> None:
    """A TypeURI or ResourceURI: an absolute URI."""
    text(value)
    assert urlsplit(value).scheme, value


def timestamp(value: Any) -> None:
    """RFC 3339, in UTC, said by a Z."""
    text(value)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value), value


def anything(value: Any) -> None:
    assert isinstance(value, dict)


def words(value: Any) -> None:
    anything(value)
    for key, entry in value.items():
        text(key)
        text(entry)


def digests(value: Any) -> None:
    """A DigestSet: algorithm to lower-case hexadecimal digits."""
    words(value)
    assert value
    assert all(re.fullmatch("[0-9a-f]+", entry) for entry in value.values())


def either(*allowed: str) -> Check:
    def check(value: Any) -> None:
        assert value in allowed

    return check


def level(value: Any) -> None:
    """A SlsaResult: one of SLSA's, or one's own that does not begin like them."""
    text(value)
    assert re.fullmatch(r"SLSA_BUILD_LEVEL_[0-3]|FAILED|(?!SLSA_).+", value), value


def major_minor(value: Any) -> None:
    text(value)
    assert re.fullmatch(r"\d+\.\d+", value)


def each(check: Check) -> Check:
    def checked(value: Any) -> None:
        assert isinstance(value, list)
        for entry in value:
            check(entry)

    return checked


def fields(extensions: bool = False, /, **known: Field) -> Check:
    """An object of these fields; others only where the specification lets a producer add some, named by URIs."""

    def check(value: Any) -> None:
        anything(value)
        missing = [name for name, field in known.items() if field.required and name not in value]
        assert missing == []
        for name, entry in value.items():
            if name in known:
                known[name].check(entry)
            else:
                assert extensions, f"unknown field {name}"
                uri(name)

    return check


_DESCRIPTOR = fields(
    name=Field(text), uri=Field(uri), digest=Field(digests), content=Field(text), downloadLocation=Field(uri),
    mediaType=Field(text), annotations=Field(anything),
)  # fmt: skip


def descriptor(value: Any) -> None:
    """A ResourceDescriptor says at least one of these three."""
    _DESCRIPTOR(value)
    assert {"uri", "digest", "content"} & set(value)


PROVENANCE_V1 = fields(
    buildDefinition=Field(
        fields(
            buildType=Field(uri, required=True),
            externalParameters=Field(anything, required=True),
            internalParameters=Field(anything),
            resolvedDependencies=Field(each(descriptor)),
        ),
        required=True,
    ),
    runDetails=Field(
        fields(
            builder=Field(
                fields(
                    id=Field(uri, required=True), builderDependencies=Field(each(descriptor)), version=Field(words)
                ),
                required=True,
            ),
            metadata=Field(
                fields(invocationId=Field(text), startedOn=Field(timestamp), finishedOn=Field(timestamp))
            ),
            byproducts=Field(each(descriptor)),
        ),
        required=True,
    ),
)  # fmt: skip

SUMMARY_V1 = fields(
    True,
    verifier=Field(fields(id=Field(uri, required=True)), required=True),
    timeVerified=Field(timestamp, required=True),
    resourceUri=Field(uri, required=True),
    policy=Field(fields(uri=Field(uri, required=True), digest=Field(digests)), required=True),
    inputAttestations=Field(each(fields(uri=Field(uri), digest=Field(digests, required=True)))),
    verificationResult=Field(either("PASSED", "FAILED"), required=True),
    verifiedLevels=Field(each(level), required=True),
    dependencyLevels=Field(anything),
    slsaVersion=Field(major_minor),
)

STATEMENT_V1 = fields(
    _type=Field(either("https://in-toto.io/Statement/v1"), required=True),
    subject=Field(each(fields(name=Field(text), digest=Field(digests, required=True))), required=True),
    predicateType=Field(uri, required=True),
    predicate=Field(anything),
)


@pytest.fixture(scope="module")
def payloads(released: Released) -> dict[str, bytes]:
    """Predicate type to the statement's bytes, as they were signed."""
    found = {}
    for line in released.attestations.splitlines():
        payload = base64.b64decode(json.loads(line)["dsseEnvelope"]["payload"])
        found[json.loads(payload)["predicateType"]] = payload
    assert set(found) == {PROVENANCE, SBOM, MANIFEST, CERTIFICATION}
    return found


def predicate(payloads: dict[str, bytes], kind: str) -> Any:
    return json.loads(payloads[kind])["predicate"]


# -- the lists themselves refuse what is wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        (PROVENANCE, ("buildDefinition", "buildType"), None),
        (PROVENANCE, ("buildDefinition", "externalParameters"), None),
        (PROVENANCE, ("runDetails", "builder", "id"), "not a uri"),
        (PROVENANCE, ("runDetails", "metadata", "startedOn"), "2026-01-31T12:00:00+01:00"),
        (PROVENANCE, ("buildDefinition", "parameters"), {}),
        (CERTIFICATION, ("timeVerified",), None),
        (CERTIFICATION, ("policy", "uri"), None),
        (CERTIFICATION, ("verificationResult",), "passed"),
        (CERTIFICATION, ("verifiedLevels",), ["SLSA_LEVEL_3"]),
        (CERTIFICATION, ("slsaVersion",), "1"),
        (CERTIFICATION, ("tier",), "core"),
    ],
)
def test_a_predicate_that_is_not_as_published_is_noticed(
    payloads: dict[str, bytes], kind: str, path: tuple[str, ...], value: Any
) -> None:
    document = deepcopy(predicate(payloads, kind))
    place = document
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(AssertionError):
        (PROVENANCE_V1 if kind == PROVENANCE else SUMMARY_V1)(document)


# -- ours are as published ---------------------------------------------------------------------------------------------


def test_statements(payloads: dict[str, bytes]) -> None:
    for payload in payloads.values():
        STATEMENT_V1(json.loads(payload))


def test_provenance(payloads: dict[str, bytes]) -> None:
    PROVENANCE_V1(predicate(payloads, PROVENANCE))


def test_verification_summary(payloads: dict[str, bytes]) -> None:
    SUMMARY_V1(predicate(payloads, CERTIFICATION))


def test_sbom(payloads: dict[str, bytes]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(predicate(payloads, SBOM))) is None
