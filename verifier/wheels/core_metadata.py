"""METADATA and WHEEL of a wheel: what Loadlock needs of them, parsed and well-formed.

``docs/spec/wheel.md`` ("Metadata") gives the rules; the documents are those of the core metadata specification and of
the binary distribution format. The parser of METADATA is that of ``packaging``, on top of Python's for e-mail; what it
would find in a document that says each thing plainly is read without it.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, Final

from packaging.tags import parse_tag
from packaging.utils import canonicalize_name

from verifier.errors import Refused
from verifier.value import Value
from verifier.wheels.wheel_paths import shown

MAX_METADATA_BYTES: Final = 4 << 20
WHEEL_VERSION: Final = "1.0"

_MANY: Final = "requires-dist"
_USED: Final = frozenset({"metadata-version", "name", "version", _MANY, "requires-python", "license-expression"})
_USED_OF_WHEEL: Final = frozenset({"wheel-version", "root-is-purelib", "tag", "build"})
_PLAIN: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


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
    from packaging.metadata import InvalidMetadata, Metadata  # not imported where the wheel is known

    # Each field is validated when it is read, the unused ones never.
    fields = Metadata.from_raw(_raw(_text(document, "METADATA")), validate=False)
    try:
        str(fields.metadata_version)
        return CoreMetadata(
            name=canonicalize_name(fields.name),
            version=str(fields.version),
            requires_dist=tuple(str(requirement) for requirement in fields.requires_dist or ()),
            requires_python=str(fields.requires_python or ""),
            license_expression=fields.license_expression or "",
        )
    except InvalidMetadata as error:
        raise Refused("wheel.metadata", f"METADATA has a bad {error.field}", found=shown(str(error))) from error


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
        tags=frozenset(tag for text in fields.get("tag", ()) for tag in _tags(text)),
        build=_single(fields, "Build") if "build" in fields else "",
    )


def _plainly(text: str, used: Set[str]) -> dict[str, list[str]] | None:
    """The used fields of a document in the spelling that tools write: values by lower-case name, in their order.

    A line each, in printable ASCII; lines that belong to fields of no use may say anything. None of any other document:
    whether it is good or bad, the long way says.
    """
    head = text.partition("\n\n")[0]
    if "\r" in head:
        return None
    found: dict[str, list[str]] = {}
    is_used = True  # what goes on in the next line would belong to a field that is used, or to none
    for line in head.removesuffix("\n").split("\n"):
        if line.startswith((" ", "\t")):
            if is_used:
                return None
            continue
        name, separator, value = line.partition(": ")
        if not (separator and name.isascii() and name.replace("-", "").isalnum()):
            return None
        field = name.lower()
        is_used = field in used
        if is_used:
            if _PLAIN.fullmatch(value) is None:
                return None
            found.setdefault(field, []).append(value)
    return found


def _raw(text: str) -> Any:
    """The fields of METADATA as ``packaging`` names them, not yet validated."""
    plain = _plainly(text, _USED)
    if plain is not None and all(len(values) == 1 for field, values in plain.items() if field != _MANY):
        return {field.replace("-", "_"): values if field == _MANY else values[0] for field, values in plain.items()}
    from packaging.metadata import parse_email

    raw, unparsed = parse_email(text)
    spoiled = sorted(field for field in _USED if field in unparsed)
    if spoiled:
        raise Refused("wheel.metadata", "a field of METADATA is repeated or cannot be read", found=", ".join(spoiled))
    return raw


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


def _tags(text: str) -> frozenset[str]:
    try:
        return frozenset(str(tag) for tag in parse_tag(text))
    except ValueError as error:
        raise Refused("wheel.metadata", "bad Tag in WHEEL", found=shown(text), expected="python-abi-os") from error


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
