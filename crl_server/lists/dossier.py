"""The directory in which a checkpoint travels to whoever signs it: what is to be signed, and all that it rests on.

checkpoint.json     the checkpoint
checkpoints.json    the TUF metadata that names it; signers add their signatures here
audit.jsonl         the audit log since the checkpoint before
public/             the trust repository, and the list as it is published: head, segments, bases, rules
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from crl_server.layout import Layout
from verifier.errors import Unreachable, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats.revocations import MAX_BASE, MAX_CHECKPOINT, MAX_HEAD
from verifier.formats.text import Hex
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind

MAX_METADATA = 512_000
"""Size cap of the TUF metadata in bytes."""
MAX_LOG = 1024 * 1024 * 1024
"""Size cap of the audit log since the last checkpoint in bytes."""


class Dossier:
    """One such directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trust = directory / "public" / "trust"

    def create(self, layout: Layout, current: RevocationList, names: Iterable[tuple[FileKind, Hex]]) -> None:
        """Copy the trust repository, the published list, and the files called ``names``.

        Raises:
            UsageError: ``usage.exists``.
            Unreachable: ``io.failed``.
        """
        if self.directory.exists():
            raise UsageError("usage.exists", "there is something already", found=str(self.directory))
        checkpoint, head = current.checkpoint, current.head
        wanted: set[tuple[FileKind, Hex]] = {("segments", ref.sha256) for ref in head.segments}
        wanted |= {("bases", checkpoint.root), ("rules", checkpoint.rules), ("rules", head.rules.sha256), *names}
        lists = self.directory / "public" / "lists"
        try:
            shutil.copytree(layout.trust, self.trust)
            for kind, name in sorted(wanted):
                (lists / kind).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(layout.list_file(kind, name), lists / kind / name)
        except OSError as error:
            raise Unreachable("io.failed", "cannot lay the checkpoint out", found=error.strerror or "") from error
        write_atomic(lists / "head.json", current.envelope)

    def list_file(self, kind: FileKind, name: Hex) -> bytes:
        """A file of the list; its digest is still to be judged."""
        return read_capped(self.directory / "public" / "lists" / kind / name, MAX_BASE, f"list file ({kind})")

    @property
    def head(self) -> bytes:
        """The published head's envelope."""
        return read_capped(self.directory / "public" / "lists" / "head.json", 2 * MAX_HEAD, "revocation head")

    @property
    def checkpoint(self) -> bytes:
        """The checkpoint to be signed."""
        return read_capped(self.directory / "checkpoint.json", MAX_CHECKPOINT, "checkpoint")

    @property
    def metadata(self) -> bytes:
        """The TUF metadata, with the signatures so far."""
        return read_capped(self.directory / "checkpoints.json", MAX_METADATA, "checkpoint's metadata")

    @property
    def log(self) -> list[bytes]:
        """The entries of the audit log since the checkpoint before."""
        return read_capped(self.directory / "audit.jsonl", MAX_LOG, "audit log").splitlines()

    def write(self, *, checkpoint: bytes, metadata: bytes, log: Iterable[bytes]) -> None:
        """Write what is to be signed, and the log that explains it."""
        write_atomic(self.directory / "checkpoint.json", checkpoint)
        write_atomic(self.directory / "audit.jsonl", b"".join(line + b"\n" for line in log))
        self.write_metadata(metadata)

    def write_metadata(self, metadata: bytes) -> None:
        """Replace the TUF metadata by one with a signature more."""
        write_atomic(self.directory / "checkpoints.json", metadata)
