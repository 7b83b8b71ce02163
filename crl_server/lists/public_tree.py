"""The static tree of one server and, where several share a database, the copy from which each of them writes its own.

A file is kept in the shared database first, and numbered; only then is it written to this server's own ``public``. What
a file names was kept before it. So whoever writes the files in the order of their numbers has a tree that verifies at
every moment, however much of it is new. A server of its own keeps its files on disk alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlmodel import col, func, select

from crl_server.layout import Layout
from crl_server.lists.public_files import HEAD, kind_of, make_folders
from crl_server.storage.ledger import Ledger
from crl_server.storage.locking import exclusive
from crl_server.storage.store import Store
from crl_server.storage.tables import PublishedFile
from crl_server.trust.repository import Repository
from crl_server.trust.trust_files import TrustFiles
from verifier.errors import LoadlockError, Refused, Unreachable
from verifier.files import read_capped, write_together
from verifier.formats import dsse
from verifier.formats.revocations import MAX_BASE, MAX_HEAD, Head, parse_head

CONTENT = ("lists/segments/", "lists/bases/", "lists/rules/")
"""Files that are never written again."""
CONTENT_MODE = 0o444
MODE = 0o644
MAX_ENVELOPE = 2 * MAX_HEAD
"""Size cap of a head's envelope in bytes."""


class PublicTree:
    """The files that hosts fetch, of one deployment.

    Args:
        layout: the deployment's directory on this server.
        store: its database.

    Attributes:
        repository: the part of it that is the trust repository.
    """

    def __init__(self, layout: Layout, store: Store) -> None:
        self.layout = layout
        self.store = store
        self.repository = Repository(layout.trust, _SharedTrust(self))
        self._number = 0

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Be the one publisher of the deployment, over a tree that is as new as that of any other server.

        Raises:
            Refused: ``server.behind``.
            Unreachable: ``io.failed`` when another publisher does not come to an end.
        """
        with self.store.publishing(), exclusive(self.layout.lock):
            if self.store.replicated:
                with self.store.read() as ledger:
                    self._catch_up(ledger)
            yield

    def put(self, path: Path, data: bytes) -> None:
        """Publish one file: for all servers, and then on this one.

        Raises:
            Unreachable: ``io.failed``.
        """
        if self.store.replicated:
            with self.store.write() as ledger:
                self.keep(ledger, {path: data})
        self.write({path: data})

    def place(self, ledger: Ledger, path: Path, data: bytes) -> None:
        """Publish one file with an open transaction: for all servers when it is committed, on this one at once.

        Raises:
            Unreachable: ``io.failed``.
        """
        self.keep(ledger, {path: data})
        self.write({path: data})

    def keep(self, ledger: Ledger, files: Mapping[Path, bytes]) -> None:
        """Keep files for all servers in an open transaction, in this order; they hear of it once it is committed."""
        if not self.store.replicated:
            return
        number = ledger.session.exec(select(func.max(PublishedFile.number))).one() or 0
        for path, data in files.items():
            number += 1
            name, digest = path.relative_to(self.layout.public).as_posix(), hashlib.sha256(data).hexdigest()
            ledger.session.merge(PublishedFile(path=name, number=number, sha256=digest, content=data))
        self.store.announce(ledger)

    def lacks(self, ledger: Ledger, path: Path, data: bytes) -> bool:
        """Whether a file with this content is still to be published: it is not so here, or not kept for all servers, as
        what was written here in a transaction that failed.
        """
        digest = hashlib.sha256(data).hexdigest()
        try:
            if self._digest(path) != digest:
                return True
        except LoadlockError:
            return True  # damaged: it is replaced
        if not self.store.replicated:
            return False
        name = path.relative_to(self.layout.public).as_posix()
        return ledger.session.exec(select(PublishedFile.sha256).where(PublishedFile.path == name)).first() != digest

    def write(self, files: Mapping[Path, bytes]) -> None:
        """Write files on this server: all of them, or none when the disk is full.

        Raises:
            Unreachable: ``io.failed``.
        """
        try:
            for path in files:
                make_folders(self.layout.public, path.relative_to(self.layout.public).as_posix())
        except OSError as error:
            raise Unreachable(
                "io.failed", "the public tree cannot be written", found=error.strerror or str(error)
            ) from error
        for mode in (CONTENT_MODE, MODE):
            some = {path: data for path, data in files.items() if self._mode(path) == mode}
            if some:
                write_together(some, mode)

    def catch_up(self) -> None:
        """Write what other servers have published since the last time; all that is missing, the first time.

        Raises:
            Refused: ``server.behind`` when this server has a newer list than the database, as after a restored backup.
            Unreachable: ``io.failed``.
        """
        if not self.store.replicated:
            return
        # The connection comes before the lock, as it does for a publisher, who has one and waits for the lock. In the
        # other order each waits for the other once all connections are in use. What is seen is seen from the first
        # question on, so with the lock held: a transaction's begin alone sees nothing yet (PostgreSQL's manual,
        # "Repeatable Read Isolation Level").
        with self.store.read() as ledger, exclusive(self.layout.lock):
            self._catch_up(ledger)

    def _catch_up(self, ledger: Ledger) -> None:
        query = select(PublishedFile.path, PublishedFile.number, PublishedFile.sha256)
        newer = query.where(col(PublishedFile.number) > self._number).order_by(col(PublishedFile.number))
        for name, number, digest in ledger.session.exec(newer).all():
            path = self.layout.public / name
            if kind_of(name) is None:
                raise Refused("server.lint", "the database holds a file that is not of the tree", found=ascii(name))
            if self._digest(path) != digest:
                data = ledger.session.exec(select(PublishedFile.content).where(PublishedFile.path == name)).one()
                self._check_not_behind(name, data)
                self.write({path: data})
            self._number = number

    def _digest(self, path: Path) -> str:
        if not path.is_file():
            return ""
        return hashlib.sha256(read_capped(path, MAX_BASE, "published file")).hexdigest()

    def _check_not_behind(self, name: str, data: bytes) -> None:
        """A head is kept in the database before it is written: a newer one on disk was signed over it."""
        if name != HEAD or not self.layout.head.is_file():
            return
        try:
            here = _head(read_capped(self.layout.head, MAX_ENVELOPE, "revocation head"))
        except LoadlockError:
            return  # damaged: it is replaced
        kept = _head(data)
        if (here.epoch, here.seq, here.issued) > (kept.epoch, kept.seq, kept.issued):
            raise Refused(
                "server.behind", "the list on disk is ahead of the database",
                found=f"the database has epoch {kept.epoch}, seq {kept.seq} of {kept.issued}",
                expected=f"epoch {here.epoch}, seq {here.seq} of {here.issued}, or later",
            )  # fmt: skip

    def _mode(self, path: Path) -> int:
        return CONTENT_MODE if path.relative_to(self.layout.public).as_posix().startswith(CONTENT) else MODE


class _SharedTrust(TrustFiles):
    """The files of the trust repository, shared like all others."""

    def __init__(self, tree: PublicTree) -> None:
        super().__init__(tree.layout.trust)
        self._tree = tree

    def put(self, name: str, data: bytes) -> None:
        """Publish one file."""
        self._tree.put(self.directory / name, data)


def _head(envelope: bytes) -> Head:
    return parse_head(dsse.parse_envelope(envelope, what="revocation head").unverified_payload)
