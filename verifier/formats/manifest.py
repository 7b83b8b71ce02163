"""The plugin manifest: what its owner declares that a plugin is and may touch.

The owner writes :class:`Manifest`; the signed statement carries :class:`SignedManifest`, which adds what only the
build knows. Nothing declared is nothing allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from verifier.formats.json_schema import in_ecma, schema_of_text
from verifier.formats.packages import Versions, normalised, versions
from verifier.formats.patterns import compiled
from verifier.formats.strict_json import Document, dumps, parse, plain
from verifier.formats.text import (
    PLAIN,
    Digest,
    Duration,
    Name,
    PluginId,
    Sentence,
    Specifier,
    Text,
    Time,
    Uri,
    Version,
)

FILE_NAME = "PLUGIN_MANIFEST.json"
MAX_MANIFEST = 256 * 1024
"""Size cap of a manifest in bytes."""

Kind = Literal["connector", "exporter", "importer", "lineage-sink", "middleware", "processor", "reporter", "tool"]
Maturity = Literal["alpha", "beta", "stable", "deprecated"]
Isolation = Literal["in-process", "process", "sandbox"]
Classification = Literal["public", "internal", "official", "confidential", "secret"]
Capability = Literal[
    "network", "file-read", "file-write", "environment", "configuration", "cache", "logging", "metrics", "subprocess",
    "native-code",
]  # fmt: skip

CLASSIFICATIONS: tuple[Classification, ...] = ("public", "internal", "official", "confidential", "secret")
"""From least to most sensitive."""
ISOLATIONS: tuple[Isolation, ...] = ("in-process", "process", "sandbox")
"""From weakest to strongest."""


class HostPattern(Text):
    """A host name, or ``*.`` and at least two labels: a wildcard is anchored and stands for one or more labels."""

    __slots__ = ()
    grammar = (
        r"(?=.{1,253}\Z)(?:\*\.(?=[^.]+\.))?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
        r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
    )
    words = "a lower-case host name, or an anchored wildcard such as '*.example.org'"

    def covers(self, other: str) -> bool:
        """Whether every host that ``other`` (a host name or a pattern) stands for is covered by this one."""
        if not self.startswith("*."):
            return self == other
        return other.removeprefix("*").endswith(self[1:]) and other != self[2:]


class Bounds(NamedTuple):
    """What a requirement asks for: a project, by its normalised name, in certain versions."""

    project: str
    versions: Versions


_VERSIONS = r"(?:[=!<>]=|[<>])[0-9]+(?:\.[0-9]+)*"
_COMMON = rf"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)((?:{_VERSIONS}(?:,{_VERSIONS})*)?)"


@lru_cache(maxsize=4096)  # each is asked for several times in one verification, and by many plugins
def _bounds(text: str) -> Bounds:
    if common := compiled(_COMMON).fullmatch(text):  # as nearly all are spelled; any other is for a parser
        return Bounds(normalised(common[1]), versions(common[2]))
    from packaging.requirements import Requirement  # see ``verifier/formats/packages.py``

    requirement = Requirement(text)
    return Bounds(normalised(requirement.name), versions(str(requirement.specifier)))


class RequirementText(Text):
    """A PEP 508 requirement without a URL or marker, such as ``openai>=2.0,<3.0``."""

    __slots__ = ()
    grammar = r"[A-Za-z0-9._\-\[\], <>=!~*+]{1,200}"
    words = "a requirement such as 'openai>=2.0,<3.0', without URL or marker"

    def __new__(cls, value: str) -> RequirementText:
        new = super().__new__(cls, value)
        try:
            _bounds(value)
        except ValueError:
            raise ValueError(f"expected {cls.words}, found {value!r}") from None
        return new

    @property
    def bounds(self) -> Bounds:
        """Project and versions, which are shared: nobody changes them."""
        return _bounds(str(self))

    @property
    def project(self) -> str:
        """The project's normalised name (PEP 503)."""
        return _bounds(str(self)).project


class EntryPoint(Text):
    """An object reference ``package.module:attribute`` (entry points specification)."""

    __slots__ = ()
    grammar = (
        r"(?=.{1,500}\Z)[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
        r"(?::[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)?"
    )
    words = "an object reference such as 'package.module:attribute', at most 500 characters"


class DeclaredCapability(Document, frozen=True, kw_only=True):
    """One capability out of the closed vocabulary, and why the plugin needs it."""

    name: Capability
    rationale: Annotated[str, Meta(min_length=10, max_length=500, pattern=PLAIN)]


class Egress(Document, frozen=True, kw_only=True):
    """One destination the plugin may talk to: a host or anchored wildcard, schemes and ports."""

    host: HostPattern
    schemes: Annotated[tuple[Literal["https", "http", "tcp", "tls", "udp"], ...], Meta(min_length=1, max_length=5)]
    ports: Annotated[tuple[Annotated[int, Meta(ge=1, le=65535)], ...], Meta(min_length=1, max_length=64)]


class Quality(Document, frozen=True, kw_only=True):
    """Figures that the owner stands for: test coverage in percent and the moment of the last audit."""

    coverage: Annotated[int, Meta(ge=0, le=100)] | None = None
    audited: Time | None = None


class Limits(Document, frozen=True, kw_only=True):
    """What the plugin needs at most: MiB, seconds, requests. Which tier enforces which stands in the guide."""

    memory_mib: Annotated[int, Meta(ge=1)] | None = None
    execution_seconds: Annotated[int, Meta(ge=1)] | None = None
    network_requests: Annotated[int, Meta(ge=0)] | None = None
    file_mib: Annotated[int, Meta(ge=0)] | None = None
    requests_per_minute: Annotated[int, Meta(ge=0)] | None = None


class Source(Document, frozen=True, kw_only=True):
    """Where the wheel was built from: a git commit, or an sdist by digest; empty when it was built elsewhere."""

    repository: Uri = ""
    commit: Annotated[str, Meta(pattern=r"\A([0-9a-f]{40}|[0-9a-f]{64})\Z")] | None = None
    sdist: Digest | None = None


class Dependency(Document, frozen=True, kw_only=True):
    """One locked dependency: exactly this wheel."""

    name: Annotated[str, Meta(pattern=r"\A[a-z0-9]+(-[a-z0-9]+)*\Z", max_length=200)]
    version: Version
    sha256: Digest


_Lines = Annotated[tuple[Sentence, ...], Meta(max_length=200)]
_Group = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_]+([.\-][A-Za-z0-9_]+)*\Z", max_length=200)]
_EntryName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_]([A-Za-z0-9_. \-]*[A-Za-z0-9_])?\Z", max_length=200)]


class Manifest(Document, frozen=True, kw_only=True):
    """What an owner declares; see ``docs/spec/plugin-manifest.md`` for every field."""

    v: Literal[1]
    plugin_id: PluginId
    version: Version
    description: Sentence
    owner: Name
    kind: Kind
    api_version: Specifier
    maturity: Maturity
    entry_points: Annotated[dict[_Group, dict[_EntryName, EntryPoint]], Meta(min_length=1, max_length=50)]
    quality: Quality = Quality()
    expires_at: Time | None = None
    hooks: _Lines = ()
    config_schema: dict[str, Any] = {}
    config_defaults: dict[str, Any] = {}
    capabilities: Annotated[tuple[DeclaredCapability, ...], Meta(max_length=20)] = ()
    allowed_egress: Annotated[tuple[Egress, ...], Meta(max_length=200)] = ()
    data_classes: _Lines = ()
    max_classification: Classification = "public"
    retention: Duration | None = None
    redaction: _Lines = ()
    secrets: _Lines = ()
    sdk_allowlist: Annotated[tuple[RequirementText, ...], Meta(max_length=500)] = ()
    allowed_paths: _Lines = ()
    limits: Limits = Limits()
    hermetic_compatible: bool = False
    isolation: Isolation = "in-process"
    host_provided: Annotated[tuple[RequirementText, ...], Meta(max_length=200)] = ()

    def __post_init__(self) -> None:
        names = [capability.name for capability in self.capabilities]
        _refuse_twice("capabilities", names)
        _refuse_twice("host_provided", [entry.project for entry in self.host_provided])
        if self.allowed_egress and "network" not in names:
            raise ValueError("allowed_egress needs the capability 'network', with its rationale")


class SignedManifest(Manifest, frozen=True, kw_only=True):
    """A manifest as it is signed: together with what only the build knows."""

    artifact_digest: Digest
    record_digest: Digest
    sbom_digest: Digest
    built_by: Annotated[Uri, Meta(min_length=1)]
    built_at: Time
    source: Source
    dependencies: Annotated[tuple[Dependency, ...], Meta(max_length=1000)] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        locked = [dependency.name for dependency in self.dependencies]
        _refuse_twice("dependencies", locked)
        provided = {entry.project for entry in self.host_provided}
        if both := sorted(provided.intersection(locked)):
            raise ValueError(f"{both[0]!r} is both locked and provided by the host")

    @property
    def declared(self) -> Manifest:
        """The owner's part alone, to compare with an embedded manifest."""
        return Manifest(**{field: getattr(self, field) for field in Manifest.__struct_fields__})


def parse_manifest(data: bytes, *, what: str = "plugin manifest") -> Manifest:
    """Read what an owner wrote.

    Raises:
        FormatError: any ``format.*`` code; fields that only the build knows are refused as unknown.
    """
    return parse(data, Manifest, limit=MAX_MANIFEST, what=what)


def parse_signed_manifest(predicate: bytes) -> SignedManifest:
    """Read the predicate of a manifest statement.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return parse(predicate, SignedManifest, limit=MAX_MANIFEST, what="signed plugin manifest")


def dump_manifest(manifest: Manifest) -> bytes:
    """Write a manifest, signed or not; the inverse of the two parsers."""
    return dumps(manifest)


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of what an owner writes, generated from the types above."""
    schema = msgspec.json.schema(Manifest, schema_hook=schema_of_text)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://loadlock.dev/schemas/plugin-manifest.v1.json",
        **in_ecma(plain(schema)),
    }


def _refuse_twice(field: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{field}: {twice[0]!r} stands there twice")
