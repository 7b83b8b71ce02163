"""Writing a carried copy: the public tree as one file, for hosts without a network (docs/spec/carried.md)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from io import BufferedWriter, BytesIO
from pathlib import Path
from typing import IO, NamedTuple

from crl_server.export.tree import read_tree
from crl_server.service import Authority
from verifier.errors import Unreachable, UsageError
from verifier.files import sync_directory
from verifier.formats.carried import END, MAX_FILE, dump_header, is_name, padding
from verifier.formats.text import Time


class Copied(NamedTuple):
    """What was written: the list's number, how many files and bytes, and until when hosts take it."""

    seq: int
    files: int
    size: int
    until: Time


def write_copy(authority: Authority, file: Path, now: datetime) -> Copied:
    """Write all that hosts need into one file, whole or not at all.

    Args:
        authority: whose public tree.
        file: where; what is there is replaced.
        now: the moment (aware, UTC).

    Raises:
        Refused, UsageError, Unreachable: as :func:`crl_server.export.tree.read_tree`; ``io.failed``.
    """
    tree = read_tree(authority, now)
    pointers, public = dict(tree.pointers), authority.layout.public
    with _written(file) as stream:
        for name in sorted(tree.paths):
            with BytesIO(pointers[name]) if name in pointers else _opened(public / name) as content:
                _add(stream, name, content)
        stream.write(END)
        size = stream.tell()
    revocations, trust = tree.standing.revocations, tree.standing.trust
    until = min(revocations.head.expires, *(Time.of(role.expires) for role in trust.roles.values()))
    return Copied(revocations.head.seq, len(tree.paths), size, min(until, trust.policy.valid_until))


def _add(stream: BufferedWriter, name: str, content: IO[bytes]) -> None:
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    if size > MAX_FILE or not is_name(name):
        raise UsageError(
            "format.too-large", "a file does not fit into a carried copy", found=f"{name}, {size} bytes",
            expected=f"at most {MAX_FILE} bytes, and 100 characters behind the last slash",
        )  # fmt: skip
    stream.write(dump_header(name, size))
    shutil.copyfileobj(content, stream)
    stream.write(bytes(padding(size)))


def _opened(path: Path) -> IO[bytes]:
    return open(path, "rb")


@contextmanager
def _written(file: Path) -> Iterator[BufferedWriter]:
    """A new file, synced and put into its place once all of it was written."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=file.absolute().parent, prefix=".copy-")
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        os.replace(temporary, file)
        temporary = ""
        sync_directory(file.absolute().parent)
    except OSError as error:
        raise Unreachable("io.failed", f"cannot write {file.name!r}", found=error.strerror or str(error)) from error
    finally:
        if temporary:
            os.unlink(temporary)
