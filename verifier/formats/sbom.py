"""The part of a CycloneDX document that verification reads: what it describes, and its components.

The format is CycloneDX's, not ours: fields that are not read here may hold anything well-formed.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from verifier.errors import FormatError
from verifier.formats.strict_json import parse
from verifier.formats.text import Digest

MAX_SBOM = 16 * 1024 * 1024
"""Size cap of an SBOM in bytes."""
MAX_COMPONENTS = 20_000
"""How many components an SBOM may list, nested ones included."""
CONTENT = "file"
"""The one type of component that is content of what the SBOM describes, and nothing that it brings along."""


class _Open(msgspec.Struct, frozen=True, kw_only=True):
    """Base of structures in which unknown fields are left to their own standard."""


class _Hash(_Open, frozen=True):
    alg: str
    content: str


class _Component(_Open, frozen=True):
    type: str
    name: str
    version: str = ""
    purl: str = ""
    hashes: list[_Hash] = []
    components: list[_Component] = []


class _Metadata(_Open, frozen=True):
    component: _Component


class _Document(_Open, frozen=True):
    bomFormat: Literal["CycloneDX"]  # noqa: N815 - the names are CycloneDX's
    specVersion: Literal["1.6", "1.7"]  # noqa: N815
    metadata: _Metadata
    components: list[_Component] = []


class Component(msgspec.Struct, frozen=True):
    """Something that an SBOM lists: its name, version and purl; empty where the document says nothing."""

    name: str
    version: str
    purl: str


class Sbom(msgspec.Struct, frozen=True):
    """What an SBOM describes, by name, version and the wheel's digest, and all that it lists but the wheel's files:
    libraries, and whatever else a component can be, at any depth. What is not listed here would not be checked.
    """

    name: str
    version: str
    wheel: Digest | None
    components: tuple[Component, ...]


def parse_sbom(predicate: bytes) -> Sbom:
    """Read an SBOM predicate.

    Raises:
        FormatError: any ``format.*`` code.
    """
    document = parse(predicate, _Document, limit=MAX_SBOM, what="SBOM")
    subject = document.metadata.component
    return Sbom(
        name=subject.name,
        version=subject.version,
        wheel=_sha256(subject.hashes),
        components=_flattened([*document.components, *subject.components]),
    )


def _flattened(components: list[_Component]) -> tuple[Component, ...]:
    found: list[Component] = []
    waiting = components[::-1]
    count = 0
    while waiting:
        part = waiting.pop()
        waiting.extend(reversed(part.components))
        count += 1
        if count > MAX_COMPONENTS:
            raise FormatError(
                "format.too-large", "SBOM lists too many components", expected=f"at most {MAX_COMPONENTS}"
            )
        if part.type != CONTENT:
            found.append(Component(part.name, part.version, part.purl))
    return tuple(found)


def _sha256(hashes: list[_Hash]) -> Digest | None:
    found = [entry.content for entry in hashes if entry.alg == "SHA-256"]
    try:
        return Digest(f"sha256:{found[0]}") if len(found) == 1 else None
    except ValueError:
        return None
