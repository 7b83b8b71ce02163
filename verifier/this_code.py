"""What tells this code from any other: what a start finds out by it must not be believed by another one."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cryptography
import msgspec
import packaging


@cache
def this_code(*libraries: str) -> bytes:
    """The state of the verifier's modules and of the libraries it rests on: of each, name, size and time of writing.

    Args:
        libraries: top-level packages besides ``cryptography``, msgspec and packaging; they are not imported.
    """
    here = Path(__file__).parent
    stamps = [_stamp(path, str(path.relative_to(here))) for path in sorted(here.rglob("*.py"))]
    for library in libraries:
        spec = find_spec(library)
        stamps.append(_stamp(Path(spec.origin), library) if spec is not None and spec.origin else (library, 0, 0))
    versions = (cryptography.__version__, msgspec.__version__, packaging.__version__, sys.version)
    return repr((stamps, *versions)).encode()


def _stamp(path: Path, name: str) -> tuple[str, int, int]:
    found = os.stat(path)
    return name, found.st_size, found.st_mtime_ns
