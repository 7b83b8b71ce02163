"""The files of the public tree: how they are called, what they are, how long caches may hold them, and how it is told
whether somebody has one already.

What is not of one of these forms is not of the tree, whatever lies in its directory.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from verifier.errors import Refused

IMMUTABLE = "public, max-age=31536000, immutable"
"""For files whose name is their content's digest or version."""
REVALIDATE = "no-cache"
"""For files that change under one name: a cache has to ask each time."""

ROUTE = "/{path:path}"
"""The route under which these files are asked for: whatever no other route takes."""

TIMESTAMP = "trust/metadata/timestamp.json"
HEAD = "lists/head.json"
ENROLMENT = "enrolment.json"

FOLDER_MODE = 0o755

HEX = r"[0-9a-f]{64}"
VERSION = r"[1-9][0-9]{0,9}"
NAME = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"


class PublicKind(NamedTuple):
    """A form of name, the media type of such files, and how they may be cached."""

    names: re.Pattern[str]
    media_type: str
    caching: str


KINDS = (
    PublicKind(
        re.compile(r"enrolment\.json|lists/head\.json|trust/metadata/timestamp\.json"), "application/json", REVALIDATE
    ),
    PublicKind(re.compile(rf"lists/(?:segments|bases)/{HEX}"), "application/octet-stream", IMMUTABLE),
    PublicKind(re.compile(rf"lists/rules/{HEX}"), "application/json", IMMUTABLE),
    PublicKind(
        re.compile(rf"trust/metadata/{VERSION}\.(?:root|targets|snapshot|checkpoints)\.json"),
        "application/json",
        IMMUTABLE,
    ),
    PublicKind(
        re.compile(rf"trust/targets/(?:{HEX}\.(?:policy|trusted_root\.{NAME})|checkpoints/{HEX}\.checkpoint)\.json"),
        "application/json",
        IMMUTABLE,
    ),
    PublicKind(re.compile(rf"sets/{HEX}\.jsonl"), "application/jsonl", REVALIDATE),
    PublicKind(re.compile(rf"records/{HEX}"), "application/octet-stream", IMMUTABLE),
    PublicKind(re.compile(rf"releases/{HEX}\.json"), "application/json", REVALIDATE),
)


def kind_of(path: str) -> PublicKind | None:
    """The kind of the file at ``path`` below the tree's root, or None when there is no such file by design."""
    return next((kind for kind in KINDS if kind.names.fullmatch(path)), None)


def named_digest(path: str) -> str | None:
    """The sha256 of an immutable file's content, where its name says it."""
    kind, name = kind_of(path), path.rpartition("/")[2].partition(".")[0]
    return name if kind is not None and kind.caching == IMMUTABLE and re.fullmatch(HEX, name) else None


def make_folders(root: Path, path: str) -> None:
    """Make the folders in which a file is to lie, ``root`` included. Whoever serves the tree may read them, whatever
    this process's own habits are (``umask``); those that are there already stay as their owner wants them.

    Raises:
        OSError: one cannot be made.
    """
    for folder in reversed(PurePosixPath(path).parents):
        place = root / folder
        if not place.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(FOLDER_MODE)


def check_content(path: str, data: bytes) -> None:
    """Demand that a file whose name says what is in it holds that: caches would keep anything else for a year.

    Raises:
        Refused: ``server.damaged``.
    """
    if named_digest(path) not in (None, hashlib.sha256(data).hexdigest()):
        raise damaged(path)


def damaged(path: str) -> Refused:
    """The error that says that a public file is not what its name, or a file that names it, says."""
    return Refused("server.damaged", "a public file is damaged", found=path, expected="what was published there")


def tag_of(path: str, kind: PublicKind, data: bytes = b"") -> str:
    """What tells a file's content from any other: its name where that does, else the sha256 of ``data``."""
    return path.rpartition("/")[2] if kind.caching == IMMUTABLE else hashlib.sha256(data).hexdigest()


def file_headers(tag: str, kind: PublicKind) -> dict[str, str]:
    """What is said of a file in any answer, that it has not changed included."""
    return {"ETag": f'"{tag}"', "Cache-Control": kind.caching, "X-Content-Type-Options": "nosniff"}


def tags_of(condition: str) -> frozenset[str]:
    """The entity tags that an ``If-None-Match`` names, compared weakly (RFC 9110 section 13.1.2); ``*`` is any."""
    if condition.strip() == "*":
        return frozenset("*")
    return frozenset(given.strip().removeprefix("W/") for given in condition.split(",")) - {"", "*"}
