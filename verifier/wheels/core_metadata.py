"""METADATA and WHEEL of a wheel: what Loadlock needs of them, parsed and well-formed.

``docs/spec/wheel.md`` ("Metadata") gives the rules; the documents are those of the core metadata specification and of
the binary distribution format. What the fields of METADATA may hold, ``packaging`` says. It also finds them, on top of
Python's parser for e-mail; what it would find in a document that says each thing plainly is found without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Final

from verifier.errors import Refused
from verifier.formats.packages import MAX_TAGS, canonical, project, tags, versions
from verifier.value import Value
from verifier.wheels.wheel_paths import shown

MAX_METADATA_BYTES: Final = 4 << 20
WHEEL_VERSION: Final = "1.0"
METADATA_VERSIONS: Final = ("1.0", "1.1", "1.2", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6")

_MANY: Final = "requires-dist"
_USED: Final = frozenset({"metadata-version", "name", "version", _MANY, "requires-python", "license-expression"})
_USED_OF_WHEEL: Final = frozenset({"wheel-version", "root-is-purelib", "tag", "build"})
_PLAIN: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_FIELDS: Final = re.compile(r"(?m)^((?=-*[A-Za-z0-9])[A-Za-z0-9-]++): (.*+(?:\n[ \t].*+)*+)")


class CoreMetadata(Value, frozen=True):
    """What METADATA says, as far as it is used.

    Attributes:
        name: normalised (PEP 503).
        version: canonical (PEP 440).
        requires_dist: requirements (PEP 508), each of which parses, in the order given.
        requires_python: a version specifier, "" if none.
        license_expression: an SPDX expression, "" if none.
    """

    name: str
    version: str
    requires_dist: tuple[str, ...]
    requires_python: str
    license_expression: str


class WheelFile(Value, frozen=True):
    """What the file WHEEL says: purelib or platlib, expanded tags ("py3-none-any"), and the build number or ""."""

    root_is_purelib: bool
    tags: frozenset[str]
    build: str


def parse_metadata(document: bytes) -> CoreMetadata:
    """Parse METADATA.

    Raises:
        Refused: ``wheel.metadata``.
    """
    text = _text(document, "METADATA")
    fields = _plainly(text, _USED) or _fields_of_metadata(text)
    said = {field: _read(field, texts) for field, texts in fields.items()}
    for field in ("metadata-version", "name", "version"):
        if field not in said:
            raise Refused("wheel.metadata", "METADATA lacks a field", expected=field)
    return CoreMetadata(
        name=said["name"],
        version=said["version"],
        requires_dist=said.get(_MANY, ()),
        requires_python=said.get("requires-python", ""),
        license_expression=said.get("license-expression", ""),
    )


def _read(field: str, texts: Sequence[str]) -> Any:
    """What a used field of METADATA says, as ``packaging`` writes it."""
    if field != _MANY and len(texts) != 1:
        raise Refused("wheel.metadata", "a field of METADATA is repeated", found=field)
    try:
        said = tuple(map(_READERS[field], texts))
        return said if field == _MANY else said[0]
    except ValueError as error:
        raise Refused("wheel.metadata", f"METADATA has a bad {field}", found=shown(str(error))) from error


def _known_version(text: str) -> str:
    if text not in METADATA_VERSIONS:
        raise ValueError(f"{text!r}, not one of {', '.join(METADATA_VERSIONS)}")
    return text


def _requirement(text: str) -> str:
    from packaging.requirements import Requirement  # see ``verifier/formats/packages.py``

    return str(Requirement(text))


def _license(text: str) -> str:
    from packaging.licenses import canonicalize_license_expression  # brings all licences' names along

    return str(canonicalize_license_expression(text))


_READERS: Final[Mapping[str, Callable[[str], str]]] = {
    "metadata-version": _known_version,
    "name": project,
    "version": canonical,
    _MANY: _requirement,
    "requires-python": lambda text: str(versions(text)),
    "license-expression": _license,
}


def parse_wheel_file(document: bytes) -> WheelFile:
    """Parse WHEEL.

    Raises:
        Refused: ``wheel.metadata``; ``wheel.unsupported`` for another version of the format.
    """
    text = _text(document, "WHEEL")
    fields = _plainly(text, _USED_OF_WHEEL) or _fields_of_wheel(text)
    version = _single(fields, "Wheel-Version")
    if version != WHEEL_VERSION:
        what = "unknown version of the wheel format"
        raise Refused("wheel.unsupported", what, found=shown(version), expected=WHEEL_VERSION)
    purelib = _single(fields, "Root-Is-Purelib").lower()
    if purelib not in ("true", "false"):
        raise Refused("wheel.metadata", "bad Root-Is-Purelib in WHEEL", found=shown(purelib), expected="true or false")
    return WheelFile(
        root_is_purelib=purelib == "true",
        tags=_tags(fields.get("tag", ())),
        build=_single(fields, "Build") if "build" in fields else "",
    )


def _plainly(text: str, used: Set[str]) -> dict[str, list[str]] | None:
    """The used fields of a document in the spelling that tools write: values by lower-case name, in their order.

    A line each, in printable ASCII; lines that belong to fields of no use may say anything. None of any other document:
    whether it is good or bad, the long way says.
    """
    head = text.partition("\n\n")[0].removesuffix("\n")
    fields = _FIELDS.findall(head)
    if "\r" in head or "\n".join(map("%s: %s".__mod__, fields)) != head:  # there is more than fields
        return None
    found: dict[str, list[str]] = {}
    for name, value in fields:
        field = name.lower()
        if field in used:
            if _PLAIN.fullmatch(value) is None:
                return None
            found.setdefault(field, []).append(value)
    return found


def _fields_of_metadata(text: str) -> dict[str, list[str]]:
    """The used fields of METADATA in any spelling."""
    from packaging.metadata import parse_email

    known, unknown = parse_email(text)
    spoiled = sorted(_USED & unknown.keys())
    if spoiled:
        raise Refused("wheel.metadata", "a field of METADATA is repeated or cannot be read", found=", ".join(spoiled))
    found: dict[str, Any] = {field: known.get(field.replace("-", "_")) for field in _USED}
    return {field: [said] if isinstance(said, str) else said for field, said in found.items() if said is not None}


def _fields_of_wheel(text: str) -> dict[str, list[str]]:
    import email.parser
    import email.policy

    message = email.parser.Parser(policy=email.policy.compat32).parsestr(text, headersonly=True)
    if message.defects:
        raise Refused("wheel.metadata", "WHEEL is not a list of fields", found=type(message.defects[0]).__name__)
    fields: dict[str, list[str]] = {}
    for name, value in message.items():
        fields.setdefault(name.lower(), []).append(str(value).strip())
    return fields


def _tags(texts: Iterable[str]) -> frozenset[str]:
    found: list[str] = []
    for text in texts:
        try:
            found += tags(text)
        except ValueError as error:
            raise Refused("wheel.metadata", "bad Tag in WHEEL", found=shown(text), expected="python-abi-os") from error
        if len(found) > MAX_TAGS:
            raise Refused("wheel.metadata", "WHEEL states too many tags", expected=f"at most {MAX_TAGS}")
    return frozenset(found)


def _single(fields: dict[str, list[str]], name: str) -> str:
    values = fields.get(name.lower(), [])
    if len(values) != 1:
        raise Refused("wheel.metadata", f"WHEEL must state {name} once", found=f"{len(values)} times")
    return values[0]


def _text(document: bytes, what: str) -> str:
    if len(document) > MAX_METADATA_BYTES:
        found, expected = f"{len(document)} bytes", f"at most {MAX_METADATA_BYTES} bytes"
        raise Refused("wheel.metadata", f"{what} is too long", found=found, expected=expected)
    try:
        return document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("wheel.metadata", f"{what} is not UTF-8", found=str(error)) from error
