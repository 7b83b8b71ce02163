"""The wheels of a release that a registry has admitted: by name and version, their digests and those of their RECORDs.

A host uses it to find out which wheel an installer may have unpacked. It is unsigned and decides nothing: whichever
wheel it names, that wheel's attestation set has to verify, and pin the RECORD that installed files are held against.
``docs/spec/installed.md`` gives the format.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from msgspec import Meta

from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Digest, Hex, Version

MAX_RELEASE = 256 * 1024
"""Size cap of the document in bytes."""
MAX_WHEELS = 200
"""How many wheels of one release there may be: one for each platform and interpreter, and builds of them."""


class ReleasedWheel(Document, frozen=True, kw_only=True):
    """One wheel: its file name, its digest, and that of its RECORD."""

    file: Annotated[str, Meta(min_length=1, max_length=255)]
    digest: Digest
    record: Digest


class Release(Document, frozen=True, kw_only=True):
    """The wheels of one version of one project, whose name is normalised (PEP 503)."""

    v: Literal[1]
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    version: Version
    wheels: Annotated[tuple[ReleasedWheel, ...], Meta(max_length=MAX_WHEELS)]


def parse_release(data: bytes) -> Release:
    """Read the document.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return parse(data, Release, limit=MAX_RELEASE, what="release")


def dump_release(release: Release) -> bytes:
    """Write the document; the inverse of :func:`parse_release`."""
    return dumps(release)


def release_key(name: str, version: str) -> Hex:
    """What the document of a release is filed under: sha256 of ``name==version``.

    Args:
        name: the project's normalised name.
        version: its canonical version (PEP 440).
    """
    return Hex(hashlib.sha256(f"{name}=={version}".encode()).hexdigest())
