"""The strict reader of wheels: bytes in, an immutable snapshot of the files out, or a refusal.

``docs/spec/wheel.md`` gives the rules. The order of work: (1) size and digest of the whole, (2) the archive,
(3) RECORD, (4) METADATA, WHEEL and the file name against one another, (5) what may not be inside. How an archive, a
path, RECORD and the metadata files are read has a module each.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

from verifier.errors import Refused
from verifier.formats.manifest import FILE_NAME
from verifier.formats.packages import WheelName, canonical, normalised, wheel_name
from verifier.private_cache import PrivateCache
from verifier.wheels.archive import DEFAULT_LIMITS, Limits, read_files
from verifier.wheels.core_metadata import CoreMetadata, WheelFile, parse_metadata, parse_wheel_file
from verifier.wheels.record import check_record
from verifier.wheels.snapshot import Contents, Files, Place, Snapshot, slices
from verifier.wheels.wheel_cache import recall, remember
from verifier.wheels.wheel_paths import shown

__all__ = ["DEFAULT_LIMITS", "CoreMetadata", "Limits", "Snapshot", "WheelReader", "read_wheel"]

WheelReader = Callable[[bytes, str, str], Snapshot]
"""Reads a wheel strictly, as :func:`read_wheel` does: its bytes, its file name and its digest, just taken."""

MAX_FILE_NAME: Final = 255
MODULE_SUFFIXES: Final = (".py", ".pyw")
EXTENSION_SUFFIXES: Final = (".so", ".pyd")

_TAKEN: Final = sys.stdlib_module_names | {"__main__"} | {"verifier", "attestor", "crl_server", "loadlock"}
_START_UP_SUFFIXES: Final = (".pth", ".start", "._pth")
_START_UP_FILES: Final = frozenset({"pyvenv.cfg"})
_START_UP_MODULES: Final = frozenset({"sitecustomize", "usercustomize"})
_BYTECODE_SUFFIXES: Final = (".pyc", ".pyo")
_READ_NEXT: Final = ("/RECORD", "/METADATA", "/WHEEL", FILE_NAME)
"""Ends of the paths of files that are read while a wheel is judged, and so are not unpacked twice for that."""


def read_wheel(
    data: bytes,
    file_name: str,
    digest: str | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    cache: PrivateCache | None = None,
) -> Snapshot:
    """Read a wheel from memory, strictly.

    Each file is unpacked, hashed and let go; the snapshot keeps ``data``, and unpacks again what is used of it.

    Args:
        data: the whole wheel.
        file_name: its name, without directories; name, version and tags are taken from it and compared.
        digest: "sha256:<64 hex>" of ``data``, where the caller has just taken it.
        limits: caps on sizes and counts.
        cache: where it is kept what was found in wheels that were accepted; a wheel known from there is not unpacked.

    Raises:
        Refused: with one of the ``wheel.*`` codes.
    """
    data = bytes(data)  # a caller's mutable buffer is copied once; of bytes, this is the same object
    if len(data) > limits.archive:
        raise Refused(
            "wheel.too-large", "the wheel exceeds the cap", found=f"{len(data)} bytes", expected=f"≤ {limits.archive}"
        )
    digest = digest or _sha256(data)
    known = recall(cache, slices(data), digest, file_name, limits) if cache is not None else None
    if known is not None:
        return known
    parse_file_name(file_name)  # before anything is unpacked
    files = _contents(data, limits, cache)
    dist_info = dist_info_of(files)
    check_record(files, dist_info)
    snapshot = describe(files, dist_info, file_name, digest)
    if cache is not None:
        remember(cache, snapshot, files.places, limits)
    return snapshot


def _contents(data: bytes, limits: Limits, cache: PrivateCache | None) -> Contents:
    """Every file of an archive, unpacked once (2)."""
    places: dict[str, Place] = {}
    unpacked: dict[str, bytes] = {}
    for path, span, content in read_files(data, limits):
        places[path] = (*span, hashlib.sha256(content).digest())
        if path.endswith(_READ_NEXT):
            unpacked[path] = content
    return Contents(slices(data), places, cache, unpacked)


def describe(files: Files, dist_info: str, file_name: str, digest: str) -> Snapshot:
    """What files are that RECORD describes exactly: a wheel, if (4) and (5) hold.

    Args:
        files: its files.
        dist_info: the one dist-info directory among them.
        file_name: the wheel's file name.
        digest: "sha256:<64 hex>" of the wheel.

    Raises:
        Refused: ``wheel.metadata``, ``wheel.forbidden``, ``wheel.shadowing``.
    """
    stated = parse_file_name(file_name)
    metadata = parse_metadata(_required(files, dist_info, "METADATA"))
    wheel_file = parse_wheel_file(_required(files, dist_info, "WHEEL"))
    _check_agreement(stated, dist_info, metadata, wheel_file)
    roots = sorted({path.partition("/")[:2] for path in files})
    top_levels = _top_levels(roots)
    _check_forbidden(files, roots, top_levels)
    _check_shadowing(top_levels)
    return Snapshot(
        digest=digest,
        file_name=file_name,
        name=metadata.name,
        version=metadata.version,
        files=files,
        dist_info=dist_info,
        record_digest=f"sha256:{files.sha256(f'{dist_info}/RECORD').hex()}",
        metadata=metadata,
        root_is_purelib=wheel_file.root_is_purelib,
        tags=wheel_file.tags,
        top_levels=top_levels,
    )


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@lru_cache(maxsize=256)  # several steps of one verification ask
def parse_file_name(file_name: str) -> WheelName:
    """Read a wheel's file name.

    Raises:
        Refused: ``wheel.metadata``.
    """
    try:
        if len(file_name) > MAX_FILE_NAME or not file_name.isascii():
            raise ValueError(f"longer than {MAX_FILE_NAME} characters, or not ASCII")
        return wheel_name(file_name)
    except ValueError as error:
        raise Refused(
            "wheel.metadata",
            "the file's name is not that of a wheel",
            found=shown(file_name),
            expected="name-version-python-abi-platform.whl",
        ) from error


def dist_info_of(files: Iterable[str]) -> str:
    """The one dist-info directory at the root.

    Raises:
        Refused: ``wheel.metadata``.
    """
    roots = {path.partition("/")[0] for path in files}
    found = sorted(root for root in roots if root.casefold().endswith((".dist-info", ".egg-info", "egg-info")))
    if len(found) != 1 or not found[0].endswith(".dist-info"):
        raise Refused(
            "wheel.metadata",
            "the wheel must have one dist-info directory at its root, and no egg-info",
            found=", ".join(shown(root) for root in found) or "none",
        )
    return found[0]


def _required(files: Mapping[str, bytes], dist_info: str, name: str) -> bytes:
    try:
        return files[f"{dist_info}/{name}"]
    except KeyError:
        raise Refused("wheel.metadata", f"the wheel has no {name}", expected=shown(f"{dist_info}/{name}")) from None


def _check_agreement(stated: WheelName, dist_info: str, metadata: CoreMetadata, wheel_file: WheelFile) -> None:
    """File name, dist-info directory, METADATA and WHEEL say the same (4)."""
    directory_name, _, directory_version = dist_info.removesuffix(".dist-info").partition("-")
    try:
        directory = (normalised(directory_name), canonical(directory_version))
    except ValueError as error:
        raise Refused("wheel.metadata", "the dist-info directory states no version", found=shown(dist_info)) from error
    for found, where in ((directory, "the dist-info directory"), ((metadata.name, metadata.version), "METADATA")):
        if found != (stated.name, stated.version):
            raise Refused(
                "wheel.metadata",
                f"the file name and {where} disagree",
                found=shown(" ".join(found)),
                expected=shown(f"{stated.name} {stated.version}"),
            )
    if wheel_file.tags != stated.tags or wheel_file.build != stated.build:
        raise Refused(
            "wheel.metadata",
            "the file name and WHEEL disagree on tags or build number",
            found=shown(" ".join([*sorted(wheel_file.tags), wheel_file.build])),
            expected=shown(" ".join([*sorted(stated.tags), stated.build])),
        )


def _top_levels(roots: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Names that an import could name first: modules at the root; directories, which Python takes for namespaces.

    Args:
        roots: what lies at the root, each with "/" for a directory.
    """
    names = set()
    for root, slash in roots:
        if slash:
            names.add(root)
        elif root.endswith(EXTENSION_SUFFIXES):
            names.add(root.partition(".")[0])  # name.cpython-311-x86_64-linux-gnu.so
        elif root.endswith(MODULE_SUFFIXES):
            names.add(root.rpartition(".")[0])
    return frozenset(name for name in names if "." not in name)


def _check_forbidden(files: Iterable[str], roots: Iterable[tuple[str, str]], top_levels: frozenset[str]) -> None:
    """Files that would run, or be put, where no import system and no reviewer looks (5)."""
    for name in top_levels:
        if name.casefold() in _START_UP_MODULES:
            raise _forbidden(name, "a module that every interpreter imports when it starts")
    for root, slash in roots:
        folded = root.casefold()
        if not slash and (folded.endswith(_START_UP_SUFFIXES) or folded in _START_UP_FILES):
            raise _forbidden(root, "a file that every interpreter reads when it starts")
        if slash and folded.endswith(".data"):
            raise _forbidden(root, "files to be put outside the wheel's own modules")
    for path in files:
        folded = path.casefold()
        if folded.endswith(_BYTECODE_SUFFIXES) or "__pycache__" in folded.split("/"):
            raise _forbidden(path, "compiled code that no reviewer can read")


def _forbidden(path: str, what: str) -> Refused:
    return Refused("wheel.forbidden", f"the wheel holds {what}", found=shown(path))


def _check_shadowing(top_levels: frozenset[str]) -> None:
    """No top-level name stands for something else already (5)."""
    shadowed = sorted(top_levels & _TAKEN)
    if shadowed:
        raise Refused(
            "wheel.shadowing",
            "the wheel brings a top-level name of the standard library or of Loadlock",
            found=", ".join(shown(name) for name in shadowed),
        )
