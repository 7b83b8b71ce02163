"""Distributions that a wheel carries inside itself, as far as they brought their own metadata along.

Whoever copies a distribution into a package (``package/_vendor``) has its code run under the plugin's name. Where its
``.dist-info`` or ``.egg-info`` was copied too, it says itself what it is. Code that was copied without is not known.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from packaging.metadata import parse_email
from packaging.utils import canonicalize_name, is_normalized_name
from packaging.version import InvalidVersion
from packaging.version import Version as Pep440

from verifier.errors import Refused
from verifier.formats.sbom import MAX_SBOM
from verifier.formats.strict_json import loads, quoted
from verifier.wheels.wheel import Snapshot

#: The names of our properties of such a component.
PROVIDED_BY = "loadlock:provided-by"
PATH = "loadlock:path"
_OURS = {"name": PROVIDED_BY, "value": "wheel"}
_METADATA = {"METADATA": ".dist-info", "PKG-INFO": ".egg-info"}


def vendored(wheel: Snapshot) -> list[dict[str, Any]]:
    """What a wheel carries, as CycloneDX components (JSON values), by where it lies.

    Args:
        wheel: the wheel, strictly read.

    Raises:
        Refused: ``wheel.metadata``: the metadata of such a distribution does not say what it is.
    """
    places = [PurePosixPath(name) for name in sorted(wheel.files)]
    return [
        _component(place.parent, wheel.files[str(place)])
        for place in places
        if place.parent.suffix == _METADATA.get(place.name) and str(place.parent) != wheel.dist_info
    ]


def components_inside(sbom: bytes) -> list[dict[str, Any]]:
    """The same, as an SBOM of ours lists them.

    Args:
        sbom: the exact bytes of a predicate that :func:`verifier.formats.sbom.parse_sbom` accepts.

    Raises:
        FormatError: any ``format.*`` code.
    """
    document = loads(sbom, limit=MAX_SBOM, what="SBOM")
    parts = document["metadata"]["component"].get("components", [])
    return [part for part in parts if _OURS in part.get("properties", [])]


def _component(place: PurePosixPath, metadata: bytes) -> dict[str, Any]:
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
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"vendored:{place}",
        "name": name,
        "version": number,
        "purl": f"pkg:pypi/{name}@{number}",
        "properties": [{"name": PATH, "value": str(place)}, _OURS],
    }
    licence = raw.get("license_expression", "")
    return found | ({"licenses": [{"expression": licence}]} if licence else {})
