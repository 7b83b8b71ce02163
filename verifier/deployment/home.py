"""A host's deployment directory: what it was enrolled with, what it has seen, and what is in force.

    host.json                 deployment, server, fingerprint of the root, floor: written once
    root.json                 the pinned root, written once
    state.json                which trust and which head are in force, and the highest versions seen
    trust/<sha256>.json       a whole TUF repository as one document
    lists/heads/<sha256>      a signed head of the revocation list
    lists/segments/<sha256>   what heads and checkpoints name: segments, bases, rules
    lists/bases/<sha256>
    lists/rules/<sha256>
    sets/<sha256>.jsonl       attestation sets, by the digest of their wheel
    releases/<sha256>.json    which wheels a release has, by the sha256 of its name and version
    records/<sha256>          RECORDs of these wheels, by their own digest
    identity.json             the host's name and the token it acknowledges with, where it has them
    acknowledged.json         what it has acknowledged last, for people
    wheels/                   wheels of locked dependencies, put there by whoever runs the host
    lock                      held by the one process that writes

Only ``state.json`` ever changes. Everything it names is written before it under the sha256 of its content, so that the
one rename of ``state.json`` moves trust and revocation list together, and a crash leaves the old state or the new one.
Nothing is trusted because it lies here: :meth:`Home.in_force` verifies from the pinned root each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from verifier.deployment.blobs import LOCK_WAIT, Blobs, Kind, writing
from verifier.deployment.trust import Trust, verify_trust
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.files import anchored, read_capped, write_atomic
from verifier.formats import strict_json
from verifier.formats.enrolment import Enrolment, Floor, ServerUrl
from verifier.formats.revocations import MAX_BASE, MAX_RULES, MAX_TAIL, PREFIX
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest, Hex, Name, Time
from verifier.private_cache import PrivateCache
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import open_list
from verifier.signatures.known_signers import KnownSigners, signed_by
from verifier.value import Value

RECORD_LIMIT = 64 * 1024
"""Size cap of ``host.json`` and ``state.json`` in bytes."""
ROOT_LIMIT = 512_000
"""Size cap of ``root.json`` in bytes."""
MAPPED_FROM = 1024 * 1024
"""The size of a base, in bytes, from which on it is mapped: what is smaller is as well held in memory."""
TRUST_LIMIT = 48 * 1024 * 1024
"""Size cap of a stored TUF repository in bytes: policy and checkpoint, written as JSON text once more."""
HEAD_LIMIT = 1024 * 1024
"""Size cap of a head's envelope in bytes."""
STAGING = ".staging-"
"""How the names of temporary directories begin."""

KINDS = {
    "trust": Kind("trust", ".json", TRUST_LIMIT, "trust.missing"),
    "heads": Kind("lists/heads", "", HEAD_LIMIT, "list.missing"),
    "segments": Kind("lists/segments", "", MAX_TAIL * PREFIX, "list.segments"),
    "bases": Kind("lists/bases", "", MAX_BASE, "list.base", MAPPED_FROM),
    "rules": Kind("lists/rules", "", MAX_RULES, "list.segments"),
}
"""The content-addressed files of a host."""

DAMAGED = frozenset(kind.code for kind in KINDS.values())
"""The codes of a file of the host's own that is missing or damaged."""

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class Host(Document, frozen=True):
    """``host.json``: what the host was enrolled with; ``root`` is the sha256 of the file ``root.json`` beside it;
    ``development``: whether it is a host for development, where that profile's exception may hold;
    ``stateless``: whether it begins each time with what was shipped, and forgets what it has seen (no grace then).
    """

    v: Literal[1]
    deployment: Name
    server: ServerUrl
    root: Digest
    floor: Floor
    development: bool = False
    stateless: bool = False


class Seen(Document, frozen=True):
    """The highest versions, and the latest signed time, that this host has accepted; never lowered."""

    root: Count
    targets: Count
    checkpoints: Count
    epoch: Count
    seq: Count
    issued: Time

    def check_follows(self, old: Seen) -> None:
        """Demand that nothing goes back from ``old``.

        Raises:
            Refused: ``trust.rollback``, ``list.rollback``.
        """
        for name in ("root", "targets", "checkpoints"):
            if getattr(self, name) < getattr(old, name):
                _rollback("trust", f"{name} {getattr(self, name)}", f"{name} {getattr(old, name)}")
        if (self.epoch, self.seq) < (old.epoch, old.seq):
            _rollback("list", f"epoch {self.epoch}, seq {self.seq}", f"epoch {old.epoch}, seq {old.seq}")
        if self.issued < old.issued:
            _rollback("list", f"issued {self.issued}", f"issued {old.issued}")


class State(Document, frozen=True):
    """``state.json``: the sha256 of the trust and of the head in force (None before the first refresh)."""

    v: Literal[1]
    seen: Seen
    trust: Hex | None = None
    head: Hex | None = None


class StoredTrust(Document, frozen=True):
    """A TUF repository as one document: file names to their exact text, as :func:`verify_trust` takes them."""

    v: Literal[1]
    metadata: dict[str, str]
    targets: dict[str, str]


class InForce(Value, frozen=True):
    """What a host goes by, verified.

    Attributes:
        state: the record that named it.
        deployment: the deployment that the host is enrolled in.
        floor: the lowest versions it accepts: those it was enrolled with or has seen since.
        trust: the trust in force; :meth:`Trust.check` tells whether its time is over.
        revocations: the revocation list in force; its freshness is still to be judged.
    """

    state: State
    deployment: Name
    floor: Floor
    trust: Trust
    revocations: RevocationList

    @property
    def time_floor(self) -> Time:
        """The latest signed moment that this host has seen."""
        return self.state.seen.issued


class Home:
    """One host's deployment directory.

    Args:
        directory: where it lies; it has been enrolled.

    Attributes:
        directory: the same, in full.
        host: what the host was enrolled with.
        pinned_root: the bytes of ``root.json``.
        blobs: what is kept under its own digest.
        cache: where it is kept which repositories and heads were verified before, once somebody sets it.

    Raises:
        Refused: ``trust.missing`` when nothing was enrolled there, ``trust.root`` when ``root.json`` is not the root
            that was pinned.
        FormatError: ``host.json`` is malformed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory = anchored(directory)
        self._record = directory / "state.json"
        self.cache: PrivateCache | None = None
        if not (directory / "host.json").is_file():
            raise Refused("trust.missing", "no host is enrolled here", found=f"no host.json in {str(directory)!r}")
        text = read_capped(directory / "host.json", RECORD_LIMIT, "host record")
        self.host = strict_json.parse(text, Host, limit=RECORD_LIMIT, what="host.json")
        self.pinned_root = _read_root(directory / "root.json", self.host.root)
        self.blobs = Blobs(directory, KINDS)
        self._known: tuple[bytes, State] | None = None

    @classmethod
    def create(cls, directory: Path, enrolment: Enrolment, *, development: bool = False) -> Home:
        """Write down a verified enrolment. ``host.json`` comes last, so that half an enrolment is none.

        Args:
            directory: where the host's files are to lie.
            enrolment: as it was verified.
            development: whether this is a host for development.

        Raises:
            UsageError: ``usage.exists`` when a host is already enrolled there.
            Unreachable: ``io.failed``.
        """
        if (directory / "host.json").exists():
            raise UsageError("usage.exists", "a host is already enrolled here", found=str(directory))
        floor, root = enrolment.floor, enrolment.root_bytes
        fingerprint = Digest.of(root)
        host = Host(
            v=1, deployment=enrolment.deployment, server=enrolment.server, root=fingerprint, floor=floor,
            development=development,
        )  # fmt: skip
        seen = Seen(
            root=floor.root,
            targets=floor.targets,
            checkpoints=0,
            epoch=floor.epoch,
            seq=floor.seq,
            issued=enrolment.issued,
        )
        write_atomic(directory / "root.json", root)
        write_atomic(directory / "state.json", strict_json.dumps(State(v=1, seen=seen)))
        write_atomic(directory / "host.json", strict_json.dumps(host))
        return cls(directory)

    def state(self) -> State:
        """Read what is in force and what was seen.

        Raises:
            Refused: ``list.state`` when the record is missing or damaged: without it, a rollback would go unseen.
        """
        try:
            data = read_capped(self._record, RECORD_LIMIT, "state record")
            known = self._known
            if known is None or known[0] != data:  # the same bytes say the same
                known = self._known = (data, strict_json.parse(data, State, limit=RECORD_LIMIT, what="state.json"))
            return known[1]
        except LoadlockError as error:
            raise Refused(
                "list.state", "the record of what this host has seen is not usable", found=error.what
            ) from error

    def in_force(self, now: datetime) -> InForce:
        """Verify, from the pinned root, what the state names.

        Args:
            now: the moment to judge at (aware, UTC); a clock behind the last signed time is no excuse for an old key.

        Raises:
            Refused: ``trust.missing`` before the first refresh, ``list.state``, whatever :func:`verify_trust` and
                :func:`open_list` refuse, ``trust.deployment``, ``trust.rollback``, ``list.rollback``.
        """
        state = self.state()
        if state.trust is None or state.head is None:
            raise Refused(
                "trust.missing",
                "this host has not fetched policy and revocation list yet",
                todo="Run 'loadlock host sync' to fetch them.",
            )
        moment = max(now, state.seen.issued.instant)
        try:
            trust = self.verify(self.stored_trust(state.trust), state)
            head = bytes(self.blobs.read("heads", state.head))
            signers = signed_by if self.cache is None else KnownSigners(self.cache)
            revocations = open_list(head, self.blobs.unverified, trust, moment, signed_by=signers)
        except Refused as error:
            if error.code in DAMAGED:  # the record names it by its digest: it was right when it was written
                error.todo = "Run 'loadlock host sync' to fetch it again, and find out what damaged it."
            raise
        seen_by(trust, revocations, state.seen.issued).check_follows(state.seen)
        return InForce(state, self.host.deployment, self.floor(state), trust, revocations)

    def stored_trust(self, sha256: Hex) -> StoredTrust:
        """The stored TUF repository of that digest, not verified.

        Raises:
            Refused: ``trust.missing``; ``format.*``.
        """
        stored = bytes(self.blobs.read("trust", sha256))
        return strict_json.parse(stored, StoredTrust, limit=TRUST_LIMIT, what="stored trust")

    def verify(self, stored: StoredTrust, state: State) -> Trust:
        """Verify a TUF repository from the pinned root, and that it is this host's and not an older one.

        Raises:
            Refused: what :func:`verify_trust` and :meth:`Trust.check_floor` refuse.
        """
        metadata = {name: text.encode() for name, text in stored.metadata.items()}
        targets = {path: text.encode() for path, text in stored.targets.items()}
        trust = verify_trust(self.pinned_root, metadata, targets, self.cache)
        trust.check_floor(self.host.deployment, self.floor(state))
        return trust

    def floor(self, state: State) -> Floor:
        """The lowest versions acceptable: those enrolled with or seen since, whichever are higher."""
        given, seen = self.host.floor, state.seen
        epoch, seq = max((given.epoch, given.seq), (seen.epoch, seen.seq))
        return Floor(root=max(given.root, seen.root), targets=max(given.targets, seen.targets), epoch=epoch, seq=seq)

    def commit(self, state: State) -> None:
        """Put a new state in force, durably; inside :meth:`writing`.

        Raises:
            Refused: ``trust.rollback``, ``list.rollback``, ``list.state``.
            Unreachable: ``io.failed``.
        """
        state.seen.check_follows(self.state().seen)
        write_atomic(self._record, strict_json.dumps(state))

    def restore(self, state: State) -> None:
        """Write a record anew that was lost, from who knows what it said; inside :meth:`writing`.

        Raises:
            Unreachable: ``io.failed``.
        """
        write_atomic(self._record, strict_json.dumps(state))

    def sweep(self, keep: Collection[str]) -> None:
        """Remove what is out of use: all content but ``keep``, and what a crash left; inside :meth:`writing`.

        Raises:
            Unreachable: ``io.failed``.
        """
        import shutil  # which brings all kinds of archives: whoever opens a gate does not sweep

        for path in self.directory.glob(f"{STAGING}*"):
            shutil.rmtree(path, ignore_errors=True)  # what cannot be removed now is tried again next time
        self.blobs.sweep(keep)

    def set_path(self, sha256: str) -> Path:
        """Where the attestation set of the wheel with that digest lies, whether or not it exists."""
        return self.directory / "sets" / f"{Hex(sha256)}.jsonl"

    def release_path(self, name: str, version: str) -> Path:
        """Where the wheels of a release are listed: of a normalised name and canonical version."""
        from verifier.formats.release import release_key  # for what is installed alone

        return self.directory / "releases" / f"{release_key(name, version)}.json"

    def record_path(self, sha256: str) -> Path:
        """Where the RECORD of that digest lies, whether or not it exists."""
        return self.directory / "records" / Hex(sha256)

    def writing(self, wait: float = LOCK_WAIT) -> AbstractContextManager[None]:
        """Be the only writer; see :func:`verifier.deployment.blobs.writing`."""
        return writing(self.directory, wait)


def seen_by(trust: Trust, revocations: RevocationList, issued: Time) -> Seen:
    """What a host has seen once it goes by this trust and this list, at the signed moment ``issued``."""
    return Seen(
        root=trust.root_version,
        targets=trust.targets_version,
        checkpoints=trust.checkpoints_version,
        epoch=revocations.head.epoch,
        seq=revocations.head.seq,
        issued=issued,
    )


def _read_root(path: Path, expected: Digest) -> bytes:
    try:
        root = read_capped(path, ROOT_LIMIT, "pinned root")
    except LoadlockError as error:
        raise Refused("trust.root", "the pinned root cannot be read", found=error.found) from error
    found = f"sha256:{hashlib.sha256(root).hexdigest()}"
    if found != expected:
        raise Refused("trust.root", "root.json is not the root that was pinned", found=found, expected=expected)
    return root


def _rollback(area: str, found: str, seen: str) -> None:
    raise Refused(
        f"{area}.rollback",
        f"the {area} is older than this host has already seen",
        found=found,
        expected=f"{seen} or later",
    )
