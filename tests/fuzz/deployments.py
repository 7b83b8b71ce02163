"""Seeds that belong together by their signatures: a deployment's backup, its carried copy, rotations of its keys.

They hold private keys, or name public ones, and are made anew, for none belongs into a repository.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from crl_server.export.carried import write_copy
from crl_server.storage import backup
from crl_server.trust.rotation_dossier import RotationDossier
from crl_server.trust.rotation_review import review
from crl_server.trust.rotations import Kind, Wanted
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, NOW, made
from verifier.formats.text import Digest
from verifier.refreshing.carried import copy_at

MARK = b"\n--- file "
"""What stands before each file's name where a dossier is written as one."""
PARTS = ("rotation.json", "root.json", "targets.json", "checkpoints.json", "policy.json", "enrolment.json",
         "enrolment.signed.json")  # fmt: skip
"""The files of a dossier that are fuzzed; the trust in force beside them is verified before they are read."""
ROTATED: dict[Kind, tuple[str, ...]] = {"root": ("root-1",), "targets": ("targets",), "head": (), "enrolment": ()}
"""What is rotated, and in whose place a new key comes."""


class Seeds(NamedTuple):
    """What a deployment gives: a backup, a carried copy, and rotations, with the trust and root they are judged by."""

    backup: bytes
    copy: bytes
    rotations: tuple[bytes, ...]
    trust: Path
    root: Digest


@lru_cache(maxsize=1)
def seeds() -> Seeds:
    """Make the deployment, once in a process; what is kept of it lies in a temporary directory until the end."""
    kept = tempfile.TemporaryDirectory(prefix="fuzz-")
    atexit.register(kept.cleanup)
    place = Path(kept.name)
    with closing(made(place / "acme")) as authority:
        write_copy(authority, place / "copy.tar", NOW)
        rotations = []
        for kind, out in ROTATED.items():
            old = [SigningKey.read(authority.layout.offline / f"{name}.pem").public.id for name in out]
            wanted = Wanted([SigningKey.generate().public for _ in out], old)
            authority.rotations.prepare(kind, wanted, place / kind, ACTOR, NOW)
            rotations.append(_joined(place / kind))
        root = authority.first_root()
    for file in (place / "acme" / "server").glob("loadlock.sqlite*"):
        file.unlink()  # what remains is small enough to be mutated
    backup.back_up(authority.layout, place / "backup.tar", NOW)
    files = [(place / name).read_bytes() for name in ("backup.tar", "copy.tar")]
    return Seeds(files[0], files[1], tuple(rotations), place / "root" / "public", root)


def _joined(directory: Path) -> bytes:
    files = [directory / name for name in PARTS if (directory / name).exists()]
    return b"".join(MARK + path.name.encode() + b"\n" + path.read_bytes() for path in files)


# -- targets -----------------------------------------------------------------------------------------------------------


def read_backup(data: bytes) -> object:
    """A backup, checked as ``loadlock backup --check`` does."""
    with _file(data) as path:
        return backup.check(path, NOW)


def read_copy(data: bytes) -> object:
    """A carried copy, and each pointer in it."""
    with _file(data) as path, copy_at(path) as source:
        return [source.request(name, 65_536) for name in ("/enrolment.json", "/lists/head.json", "/none")]


def read_rotation(data: bytes) -> object:
    """A dossier whose documents are these, over the trust in force: what a signer reviews."""
    made = seeds()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "public").symlink_to(made.trust, target_is_directory=True)
        for part in data.split(MARK)[1:]:
            name, _, content = part.partition(b"\n")
            if name.decode("latin-1") in PARTS:
                (place / name.decode("latin-1")).write_bytes(content)
        return review(RotationDossier(place), made.root, NOW)


@contextmanager
def _file(data: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "given.tar"
        path.write_bytes(data)
        yield path
