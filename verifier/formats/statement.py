"""in-toto Statements (v1) and the predicates that Loadlock reads.

A statement keeps its predicate's exact bytes: other statements pin them by digest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.strict_json import Common, Document, common, convert, dumps, loads, parse, quoted
from verifier.formats.tables import reader
from verifier.formats.text import PLAIN, Digest, Hex, Line, Time, Uri

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
SBOM = "https://cyclonedx.org/bom"
MANIFEST = "https://loadlock.dev/plugin-manifest/v1"
VULNERABILITIES = "https://in-toto.io/attestation/vulns/v0.2"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
CERTIFICATION = "https://slsa.dev/verification_summary/v1"
LAYOUT = "https://loadlock.dev/in-toto-layout/v1"
"""How a certification names the layout that it saw fulfilled, among its input attestations."""
BUILD_TYPE = "https://loadlock.dev/buildtypes/python-wheel/v1"
CERTIFICATION_FIELD = "https://loadlock.dev/certification/v1"

MAX_STATEMENT = 16 * 1024 * 1024
"""Size cap of a statement in bytes; an SBOM of a large plugin is the largest."""
MAX_NAME = 300
"""How many characters the subject's name may have."""


class Statement(Document, frozen=True, kw_only=True):
    """A statement about one artifact: its file name, sha256, and a typed predicate in its exact bytes."""

    subject_name: str
    sha256: Hex
    predicate_type: str
    predicate: bytes


class _Subject(Document, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME, pattern=PLAIN)]
    digest: dict[str, str]


class _Wire(Document, frozen=True, kw_only=True):
    _type: str
    subject: tuple[dict[str, Any], ...]
    predicateType: Annotated[Uri, Meta(min_length=1)]  # noqa: N815 - the name is in-toto's
    predicate: dict[str, Any]


class _Exact(msgspec.Struct, frozen=True):
    predicate: msgspec.Raw


class _CommonWire(Document, frozen=True, kw_only=True):
    _type: Literal["https://in-toto.io/Statement/v1"]
    subject: tuple[_Subject]
    predicateType: Annotated[Uri, Meta(min_length=1)]  # noqa: N815
    predicate: msgspec.Raw


def parse_statement(payload: bytes, *, what: str = "statement") -> Statement:
    """Read a statement out of a payload whose signature has been verified.

    Raises:
        FormatError: any ``format.*`` code; ``subject.count`` unless there is exactly one subject;
            ``subject.algorithm`` unless it is identified by a sha256 digest.
    """
    return _read_common(payload, what) or _read(payload, what)


def _read_common(payload: bytes, what: str) -> Statement | None:
    """A statement in the common spelling, with one subject; None of any other, whatever is the matter with it."""
    document = common(payload, limit=MAX_STATEMENT)
    if document is None:
        return None
    try:
        wire: _CommonWire = reader(_CommonWire).decode(document)
    except msgspec.ValidationError:
        return None
    predicate = Common(wire.predicate)  # a part of what is spelled so is spelled so
    if not predicate.startswith(b"{"):
        return None
    (subject,) = wire.subject
    return Statement(
        subject_name=subject.name,
        sha256=_sha256(subject.digest, what),
        predicate_type=wire.predicateType,
        predicate=predicate,
    )


def _read(payload: bytes, what: str) -> Statement:
    """A statement in any spelling: the rules, one after the other."""
    value = loads(payload, limit=MAX_STATEMENT, what=what)
    if isinstance(value, dict) and value.get("_type", STATEMENT_TYPE) != STATEMENT_TYPE:
        raise FormatError(
            "format.unsupported", f"{what} is not an in-toto Statement v1", found=quoted(repr(value["_type"]))
        )
    wire = convert(value, _Wire, what=what)
    if len(wire.subject) != 1:
        raise FormatError(
            "subject.count", f"{what} must have exactly one subject", found=f"{len(wire.subject)} subjects"
        )
    subject = convert(wire.subject[0], _Subject, what=f"{what}'s subject")
    try:
        exact = reader(_Exact).decode(payload)  # the same document, for the predicate's exact bytes alone
    except msgspec.DecodeError as error:
        raise FormatError("format.syntax", f"{what} is not JSON", found=quoted(str(error))) from None
    return Statement(
        subject_name=subject.name,
        sha256=_sha256(subject.digest, what),
        predicate_type=wire.predicateType,
        predicate=bytes(exact.predicate),
    )


def dump_statement(statement: Statement) -> bytes:
    """Write a statement around the predicate's exact bytes; the inverse of :func:`parse_statement`."""
    return dumps(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": statement.subject_name, "digest": {"sha256": statement.sha256}}],
            "predicateType": statement.predicate_type,
            "predicate": msgspec.Raw(statement.predicate),
        }
    )


def _sha256(digests: dict[str, str], what: str) -> Hex:
    try:
        if set(digests) == {"sha256"}:
            return Hex(digests["sha256"])
        found = ", ".join(sorted(digests)) or "no digest"
    except ValueError as error:
        found = str(error)
    raise FormatError(
        "subject.algorithm",
        f"{what}: the subject's digest",
        found=quoted(found),
        expected="one sha256, and nothing else",
    )


# -- SLSA provenance v1 ----------------------------------------------------------------------------------------------


class Resource(Document, frozen=True, kw_only=True):
    """An in-toto ResourceDescriptor, less what can point at a place: identified by purl or name, and digest."""

    uri: Uri = ""
    name: Line = ""
    digest: dict[str, Annotated[str, Meta(max_length=200, pattern=r"\A[0-9a-f]*\Z")]] = {}
    annotations: dict[str, Any] = {}


class ExternalParameters(Document, frozen=True, kw_only=True):
    """What the build was asked for: where the source comes from and which configuration settings were given."""

    repository: Uri = ""
    ref: Line = ""
    subdirectory: Line = ""
    sdist: Line = ""
    config_settings: dict[str, str] = {}


class BuildDefinition(Document, frozen=True, kw_only=True):
    """How the wheel was built, and from which digested inputs."""

    buildType: Uri  # noqa: N815 - the names are SLSA's
    externalParameters: ExternalParameters  # noqa: N815
    internalParameters: dict[str, Any] = {}  # noqa: N815
    resolvedDependencies: Annotated[tuple[Resource, ...], Meta(max_length=2000)] = ()  # noqa: N815


class Builder(Document, frozen=True, kw_only=True):
    """The builder's identity: one per trust mode (hosted, self-hosted, local)."""

    id: Uri
    version: dict[str, Line] = {}


class BuildMetadata(Document, frozen=True, kw_only=True):
    """When and as which invocation the build ran; these fields alone differ between two equal builds."""

    invocationId: Uri = ""  # noqa: N815
    startedOn: Time | None = None  # noqa: N815
    finishedOn: Time | None = None  # noqa: N815


class RunDetails(Document, frozen=True, kw_only=True):
    """Who built, when, and what fell out beside the wheel."""

    builder: Builder
    metadata: BuildMetadata = BuildMetadata()
    byproducts: Annotated[tuple[Resource, ...], Meta(max_length=100)] = ()


class Provenance(Document, frozen=True, kw_only=True):
    """SLSA provenance v1 of Loadlock's build type; see ``docs/spec/provenance.md``."""

    buildDefinition: BuildDefinition  # noqa: N815
    runDetails: RunDetails  # noqa: N815


#: What a rebuild may say of a wheel that it was compared with; docs/adr/0009 tells the four apart.
RebuildVerdict = Literal[
    "bit-identical", "bit-identical given the zip header table", "content-identical", "different",
]  # fmt: skip


class Rebuild(Document, frozen=True, kw_only=True):
    """The internal parameter ``rebuild`` of a rebuilder's provenance: which statement it followed, and how alike each
    wheel is that it compared, by digest.
    """

    provenance: Digest
    verdicts: Annotated[dict[str, RebuildVerdict], Meta(max_length=16)]


# -- certification: SLSA verification summary v1 ---------------------------------------------------------------------


class VerifierIdentity(Document, frozen=True, kw_only=True):
    """Who certified, as a URI."""

    id: Uri


class PolicyReference(Document, frozen=True, kw_only=True):
    """The policy under which was certified."""

    uri: Uri
    digest: dict[str, Hex] = {}


class InputAttestation(Document, frozen=True, kw_only=True):
    """One statement that the certification rests on: its predicate type and the sha256 of its payload."""

    uri: Uri
    digest: dict[str, Hex]


class Conditions(Document, frozen=True, kw_only=True):
    """Loadlock's extension of the summary: the tier, until when, and under which conditions, in words."""

    tier: str
    expires: Time
    conditions: Annotated[tuple[Line, ...], Meta(max_length=50)] = ()


class Certification(Document, frozen=True, kw_only=True):
    """A certifier's verification summary; see ``docs/spec/certification.md``."""

    verifier: VerifierIdentity
    timeVerified: Time  # noqa: N815 - the names are SLSA's
    resourceUri: Uri  # noqa: N815
    policy: PolicyReference
    inputAttestations: Annotated[tuple[InputAttestation, ...], Meta(max_length=64)]  # noqa: N815
    verificationResult: Line  # noqa: N815
    verifiedLevels: Annotated[tuple[Line, ...], Meta(max_length=16)]  # noqa: N815
    slsaVersion: Line  # noqa: N815
    terms: Conditions = msgspec.field(name=CERTIFICATION_FIELD)


def parse_provenance(predicate: bytes) -> Provenance:
    """Read a provenance predicate; raises FormatError with any ``format.*`` code."""
    return parse(predicate, Provenance, limit=MAX_STATEMENT, what="provenance")


def rebuild_in(provenance: Provenance) -> Rebuild | None:
    """What a provenance says of a rebuild; None when it is not that of a rebuild.

    Raises:
        FormatError: any ``format.*`` code.
    """
    said = provenance.buildDefinition.internalParameters.get("rebuild")
    return None if said is None else convert(said, Rebuild, what="the provenance's rebuild")


@lru_cache(maxsize=8)  # several steps of one verification look at it
def parse_certification(predicate: bytes) -> Certification:
    """Read a certification predicate; raises FormatError with any ``format.*`` code."""
    return parse(predicate, Certification, limit=MAX_STATEMENT, what="certification")
