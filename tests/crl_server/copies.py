"""Copies of the public tree as hosts see them: read from a directory, judged by the rules that hosts follow."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from crl_server.export.exporter import Exporter
from crl_server.export.places import Directory, Held
from crl_server.layout import Layout
from crl_server.lists.public_files import PublicKind
from crl_server.service import Authority
from crl_server.trust.trust_files import TrustFiles
from tests.crl_server.deployments import DAY, NOW
from verifier.errors import Refused
from verifier.formats.text import Hex
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind, apply_head


def read_copy(root: Path, now: datetime = NOW, current: RevocationList | None = None) -> RevocationList:
    """What a host makes of the copy at ``root``, a fresh one or one that knows a list already.

    Raises:
        Refused: as a host refuses.
    """

    def files(kind: FileKind, name: Hex) -> bytes:
        return (root / "lists" / kind / name).read_bytes()

    trust = TrustFiles(root / "trust").trust()
    return apply_head(current, (root / "lists" / "head.json").read_bytes(), files, trust, now)


def contents(root: Path) -> dict[str, bytes]:
    """Every file below ``root``."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Watched(Directory):
    """A directory that is read as hosts read it after every single change.

    Attributes:
        refusals: what a fresh host was refused with, after which change.
        changes: the names that were written or removed, in order.
    """

    def __init__(self, root: Path, now: datetime = NOW) -> None:
        super().__init__(root)
        self.root = root
        self.now = now
        self.changes: list[str] = []
        self.refusals: list[tuple[str, str]] = []
        self.known: RevocationList | None = None

    def _look(self, name: str) -> None:
        self.changes.append(name)
        if not (self.root / "lists" / "head.json").exists():
            return
        for known in (None, self.known):
            try:
                found = read_copy(self.root, self.now, known)
            except Refused as refusal:
                self.refusals.append((name, refusal.code))
            else:
                self.known = found

    def put(self, name: str, data: bytes, kind: PublicKind) -> None:
        super().put(name, data, kind)
        self._look(name)

    def replace(self, name: str, data: bytes, kind: PublicKind, held: Held | None) -> None:
        super().put(name, data, kind)
        self._look(name)

    def delete(self, name: str) -> None:
        super().delete(name)
        self._look(name)


def exporter(authority: Authority, place: Directory) -> Exporter:
    """An exporter to a place."""
    return Exporter(authority, "mirror", place, DAY)


def tree_of(layout: Layout) -> Path:
    """The public tree itself."""
    return layout.public
