"""Distributions that a wheel carries inside itself, as far as they brought their own metadata along.

Whoever copies a distribution into a package (``package/_vendor``) has its code run under the plugin's name. Where its
``.dist-info`` or ``.egg-info`` was copied too, it says itself what it is. Code that was copied without is not known.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, NamedTuple

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name, is_normalized_name
from packaging.version import InvalidVersion
from packaging.version import Version as Pep440

from attestor.describing.declared import declared_in
from verifier.errors import Refused
from verifier.formats.sbom import MAX_SBOM
from verifier.formats.strict_json import loads, quoted
from verifier.wheels.wheel import Snapshot

#: The names of our properties of such a component.
PROVIDED_BY = "loadlock:provided-by"
PATH = "loadlock:path"
WHEEL = "wheel"
_OURS = {"name": PROVIDED_BY, "value": WHEEL}
_METADATA = {"METADATA": ".dist-info", "PKG-INFO": ".egg-info"}


class Vendored(NamedTuple):
    """One of them.

    Attributes:
        place: the directory with its metadata.
        name: normalised (PEP 503).
        version: canonical (PEP 440).
        licences: as :func:`attestor.describing.declared.declared_licences` says them.
    """

    place: str
    name: str
    version: str
    licences: tuple[str, ...]


def vendored(wheel: Snapshot) -> list[Vendored]:
    """What a wheel carries, by where it lies.

    Args:
        wheel: the wheel, strictly read.

    Raises:
        Refused: ``wheel.metadata``: the metadata of such a distribution does not say what it is.
    """
    places = [PurePosixPath(name) for name in sorted(wheel.files)]
    return [
        _read(place.parent, wheel.files[str(place)])
        for place in places
        if place.parent.suffix == _METADATA.get(place.name) and str(place.parent) != wheel.dist_info
    ]


def components_inside(sbom: bytes) -> list[dict[str, Any]]:
    """What a wheel carries, as an SBOM of ours lists it: CycloneDX components (JSON values).

    Args:
        sbom: the exact bytes of a predicate that :func:`verifier.formats.sbom.parse_sbom` accepts.

    Raises:
        FormatError: any ``format.*`` code.
    """
    document = loads(sbom, limit=MAX_SBOM, what="SBOM")
    parts = document["metadata"]["component"].get("components", [])
    return [part for part in parts if _OURS in part.get("properties", [])]


def _read(place: PurePosixPath, metadata: bytes) -> Vendored:
    raw, _ = parse_email(metadata)
    name, version = canonicalize_name(raw.get("name", "")), raw.get("version", "")
    try:
        number = str(Pep440(version))
    except InvalidVersion:
        number = ""
    if not number or not is_normalized_name(name):
        raise Refused(
            "wheel.metadata", "a distribution inside the wheel does not say what it is",
            found=f"name {quoted(name)[:80]!r}, version {quoted(version)[:80]!r} in {quoted(str(place))[:200]}",
            expected="its METADATA with name and version, as it was published",
            todo="Copy its metadata whole, or leave the directory out.",
        )  # fmt: skip
    return Vendored(str(place), name, number, declared_in(raw))
