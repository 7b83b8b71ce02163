"""Exporting: one pass that brings a place up to date, in an order in which it verifies at every moment.

1. read and verify the tree
2. write what the place lacks of what never changes, and what changed of the attestation sets
3. write timestamp, head and enrolment bundle, each over exactly what was read there, never over something newer
4. remove what nothing has referred to for as long as it is to be kept

A pass that fails has written complete files and nothing else; the next one goes on where it ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Timestamp

from crl_server.export import leftovers
from crl_server.export.places import Held, Place
from crl_server.export.tree import MAX_POINTER, Tree, read_tree
from crl_server.lists.public_files import ENROLMENT, HEAD, TIMESTAMP, check_content, kind_of
from crl_server.lists.stamps import Stamp, stamp
from crl_server.service import Authority
from crl_server.storage.locking import exclusive
from verifier.deployment.trust import Trust
from verifier.errors import LoadlockError, Refused
from verifier.files import read_capped
from verifier.formats import dsse
from verifier.formats.policy import Policy
from verifier.formats.revocations import MAX_BASE, Head, parse_head
from verifier.signatures.keys import PublicKey, signers

LOOK_AGAIN = timedelta(hours=1)
"""How often the whole place is compared with the tree, whatever this process remembers of it."""


@dataclass(frozen=True)
class Outcome:
    """What a pass did: how many files it wrote and removed, and the list that the place holds now."""

    written: int
    removed: int
    epoch: int
    seq: int


class Exporter:
    """Keeps one place up to date.

    Args:
        authority: whose tree it is.
        name: how the export is called.
        place: where to.
        keep: how long a file stays that nothing refers to.
    """

    def __init__(self, authority: Authority, name: str, place: Place, keep: timedelta) -> None:
        self.name = name
        self._authority = authority
        self._place = place
        self._keep = keep
        self._lock = authority.layout.lock.with_name(f"export-{name}.lock")
        self._marks: dict[str, str] = {}
        self._stamps: dict[str, Stamp | None] = {}
        self._looked: datetime | None = None
        self._written = 0

    def run(self, now: datetime) -> Outcome:
        """Make one pass.

        Raises:
            Refused: ``export.*``; ``server.not-ready``, ``trust.*`` when the tree itself does not verify.
            Unreachable: ``unreachable.storage``, ``io.failed``.
            UsageError, FormatError: a file could not be read.
        """
        try:
            with exclusive(self._lock):
                return self._pass(now)
        except BaseException:
            self._looked = None  # what the place holds now is not known
            raise

    def check_not_behind(self) -> None:
        """Demand that the place holds no newer list and no newer trust than this server has: before it signs anything.

        Raises:
            Refused: ``export.behind``, ``export.denied``; ``trust.*`` when the tree itself does not verify.
            Unreachable: ``unreachable.storage``, ``io.failed``.
        """
        trust = self._authority.repository.trust()
        for path in (TIMESTAMP, HEAD):
            source = self._authority.layout.public / path
            held = self._place.read(path) if source.is_file() else None
            self._check_forward(trust, path, read_capped(source, MAX_POINTER, path) if held else b"", held)

    def _pass(self, now: datetime) -> Outcome:
        tree = read_tree(self._authority, now)  # (1)
        self._written = 0
        if self._looked is None or abs(now - self._looked) >= LOOK_AGAIN:
            self._marks, self._stamps, self._looked = dict(self._place.marks()), {}, now
        for path in (*tree.fixed, *tree.sets):  # (2)
            self._write(path)
        self._point(tree)  # (3)
        removed = self._prune(tree, now)  # (4)
        head = tree.standing.revocations.head
        return Outcome(self._written, removed, head.epoch, head.seq)

    def _write(self, path: str) -> None:
        """Write a file unless it is there as it is here."""
        source = self._authority.layout.public / path
        seen = stamp(source)
        if self._stamps.get(path) == seen and path in self._marks:
            return
        data = read_capped(source, MAX_BASE, path)
        check_content(path, data)  # what was verified once may have been damaged since
        mark = self._place.mark(data)
        if self._marks.get(path) != mark:
            kind = kind_of(path)
            assert kind is not None  # noqa: S101 - the tree names nothing else
            self._place.put(path, data, kind)
            self._marks[path] = mark
            self._written += 1
        self._stamps[path] = seen

    def _point(self, tree: Tree) -> None:
        pending = [(path, data) for path, data in tree.pointers if self._marks.get(path) != self._place.mark(data)]
        held = {path: self._place.read(path) for path, _ in pending}
        for path, data in pending:
            self._check_forward(tree.standing.trust, path, data, held[path])
        for path in tree.roots:
            self._write(path)
        for path, data in pending:
            kind = kind_of(path)
            assert kind is not None  # noqa: S101 - the tree names nothing else
            self._marks.pop(path, None)
            self._place.replace(path, data, kind, held[path])
            self._marks[path] = self._place.mark(data)
            self._written += 1

    def _check_forward(self, trust: Trust, path: str, data: bytes, held: Held | None) -> None:
        """Demand that what is to be written is no older than what is there; whatever nobody signed does not count."""
        if held is None or path == ENROLMENT:
            return
        try:
            if path == HEAD:
                theirs, ours = _signed_head(held.data, trust.policy), _signed_head(data, trust.policy)
                newer = (theirs.epoch, theirs.seq, theirs.issued) > (ours.epoch, ours.seq, ours.issued)
            else:
                root = self._authority.repository.root(trust.root_version)
                newer = _signed_timestamp(held.data, root) > _signed_timestamp(data, root)
        except (LoadlockError, RepositoryError, KeyError, ValueError, TypeError):
            return
        if newer:
            raise Refused(
                "export.behind", "the place holds a newer list or newer trust than this server has", found=path
            )

    def _prune(self, tree: Tree, now: datetime) -> int:
        due = leftovers.due(self._authority.store, self.name, set(self._marks) - tree.paths, now, self._keep)
        for path in due:
            self._place.delete(path)
            self._marks.pop(path, None)
        leftovers.forget(self._authority.store, self.name, due)
        return len(due)


def _signed_head(data: bytes, policy: Policy) -> Head:
    """A head that a head key of the policy has signed.

    Raises:
        LoadlockError: it has not.
    """
    envelope = dsse.parse_envelope(data, what="exported head")
    keys = [PublicKey.from_policy(policy.keys[found.key]) for found in policy.head_keys]
    if envelope.payload_type != dsse.HEAD or not signers(envelope, keys):
        raise Refused("list.signature", "not signed by a head key of the policy")
    return parse_head(envelope.unverified_payload)


def _signed_timestamp(data: bytes, root: bytes) -> int:
    """The version of a timestamp that the root's keys have signed; raises what python-tuf raises."""
    metadata: Metadata[Timestamp] = Metadata.from_bytes(data)
    trusted: Metadata[Root] = Metadata.from_bytes(root)
    trusted.signed.verify_delegate("timestamp", metadata.signed_bytes, metadata.signatures)
    return metadata.signed.version
