"""What tells this code from any other: what a start finds out by it must not be believed by another one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import cryptography
import msgspec
import packaging


@cache
def this_code(*libraries: str) -> bytes:
    """The state of the verifier's modules and of the libraries it rests on: of each, name, size and times.

    The time of writing tells nothing where packages or images are made reproducibly: there all files have one. The time
    of change is the system's.

    Args:
        libraries: top-level packages besides ``cryptography``, msgspec and packaging; they are not imported.
    """
    stamps = _modules()
    for library in libraries:
        spec = find_spec(library)
        stamps += (_stamp(spec.origin, library) if spec is not None and spec.origin else (library,),)
    versions = (cryptography.__version__, msgspec.__version__, packaging.__version__, sys.version)
    return repr((stamps, *versions)).encode()


@cache
def _modules() -> tuple[tuple[object, ...], ...]:
    """The stamps of the verifier's own modules, by their place below this directory."""
    here = os.path.dirname(__file__)
    return tuple(_stamp(path, path.removeprefix(here)) for path in sorted(_sources(here)))


def _sources(directory: str) -> Iterator[str]:
    """Python's files below a directory; what ``os.walk`` tells besides takes twice as long."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry.path
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _sources(entry.path)


def _stamp(path: str, name: str) -> tuple[object, ...]:
    found = os.stat(path)
    return name, found.st_size, found.st_mtime_ns, found.st_ctime_ns
