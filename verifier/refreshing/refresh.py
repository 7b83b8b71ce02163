"""Refreshing: fetch trust and revocation list, and put in force what passes every check, both at once.

This is the reader's one door to the network, and nothing that loads a plugin comes through it. One pass, under the
directory's lock:

1. fetch the head, on the condition that it changed
2. apply it under the trust in force; where that refuses it, trust may simply be behind
3. fetch trust, when asked to or when step 2 needs it, and verify it as a gate would
4. apply the head under the new trust
5. write everything new under the sha256 of its content, then the one record that names it

Until the record is replaced, the old trust and list stay in force, whatever fails. A refusal of step 2 that newer trust
does not mend, and a server that cannot be reached, are raised: the caller alarms and goes on with what it has.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from verifier.deployment.enrolment import verify_enrolment
from verifier.deployment.home import HEAD_LIMIT, KINDS, STAGING, Home, InForce, State, StoredTrust, seen_by
from verifier.errors import Refused, Unreachable, UsageError
from verifier.formats import strict_json
from verifier.formats.enrolment import MAX_ENROLMENT
from verifier.formats.push import Announcement
from verifier.formats.revocations import dump_set_file, sha256_hex
from verifier.formats.text import Digest, Hex
from verifier.refreshing.source import Response, Source
from verifier.refreshing.transport import Transport
from verifier.revocation.revocation_list import Buffer, RevocationList
from verifier.revocation.revocations import CLOCK_SKEW, FileKind, apply_head, check_history, open_list

if TYPE_CHECKING:
    from verifier.deployment.trust import Trust
    from verifier.deployment.tuf_client import Fetcher
    from verifier.judging.ground import Ground

logger = logging.getLogger(__name__)

HEAD_URL = "/lists/head.json"
"""Where a server keeps the head, below its address."""
ENROLMENT_URL = "/enrolment.json"
"""Where a server keeps the enrolment bundle, below its address."""
BUNDLE_LIMIT = 2 * MAX_ENROLMENT
"""Size cap of the enrolment bundle in bytes: the payload in base64, and its signatures."""
TRUST_INTERVAL = timedelta(hours=1)
"""How often a refresher fetches trust when no head asks for it."""


def enroll(source: str | Source, root_fingerprint: str, directory: Path, *, development: bool = False) -> Home:
    """Enrol the host whose deployment directory is to be ``directory``, from a server or a carried copy.

    The server is not trusted: it may hand out another deployment's bundle, which then has another fingerprint. Policy
    and list are not fetched yet: :func:`refresh` does.

    Args:
        source: the server's address, or a copy.
        root_fingerprint: ``sha256:`` of the deployment's root, as told by somebody who knows.
        directory: where the host's files are to lie.
        development: whether it is a host for development; never one that does anything else.

    Raises:
        Refused: as :func:`verify_enrolment`.
        UsageError: ``usage.arguments`` for a malformed fingerprint or address, ``usage.exists``.
        Unreachable: ``unreachable.server``, ``io.failed``.
    """
    try:
        fingerprint = Digest(root_fingerprint)
    except ValueError as error:
        raise UsageError("usage.arguments", "the root's fingerprint is malformed", found=str(error)) from None
    bundle = (Transport(source) if isinstance(source, str) else source).get(ENROLMENT_URL, BUNDLE_LIMIT).body
    return Home.create(directory, verify_enrolment(bundle, fingerprint), development=development)


def refresh(home: Home, now: datetime, source: Source | None = None) -> InForce:
    """Fetch trust and list once; see :meth:`Refresher.refresh`. Who does so repeatedly keeps a :class:`Refresher`."""
    return Refresher(home, source).refresh(now, trust=True)


class _Candidate(NamedTuple):
    """What would be put in force: trust, its stored form (None for the one already stored), and the list."""

    trust: Trust
    stored: bytes | None
    revocations: RevocationList


class Refresher:
    """Keeps one host's deployment directory current; it remembers entity tags and connections between passes.

    Args:
        home: the host's deployment directory.
        transport: where files come from; by default the server that the host was enrolled with.
    """

    def __init__(self, home: Home, transport: Source | None = None) -> None:
        self.home = home
        self.transport: Source = transport or Transport(home.host.server)
        self._head: Response | None = None
        self._outrun: bytes | None = None
        self._offer: Announcement | None = None
        self._fetcher: Fetcher | None = None
        self._in_force: InForce | None = None
        self._last: InForce | None = None
        self._trust_fetched: datetime | None = None

    def refresh(
        self,
        now: datetime,
        *,
        trust: bool | None = None,
        offer: Announcement | None = None,
        damaged: InForce | None = None,
    ) -> InForce:
        """Make one pass.

        Args:
            now: the moment to judge at (aware, UTC). python-tuf judges expiry of its metadata by the real clock too.
            trust: fetch trust even when the head does not ask for it; by default in the first pass and then once
                every :data:`TRUST_INTERVAL`.
            offer: a head that was pushed, to be judged in place of a fetched one, with the segment that came along.
            damaged: what a running host goes by, where its directory was found damaged; nothing older is accepted, and
                the record of what was seen is written anew from it if need be.

        Returns:
            What is in force now; its ``state`` differs from the earlier one exactly when something changed.

        Raises:
            Unreachable: ``unreachable.server``, ``io.failed``.
            Refused: a ``trust.*``, ``list.*``, ``clock.behind`` or ``format.*`` code; what was in force still is.
        """
        with self.home.writing():
            self._last = damaged or self._in_force
            state = self._record()
            current = self._current(state, again=damaged is not None or self._trust_is_due(now))
            _check_clock(state, now)
            self._offer = offer
            envelope = offer.head if offer else self._fetch_head()  # (1)
            if current is not None and envelope == self._outrun:
                envelope = current.revocations.envelope  # a cache on the way is behind what was pushed: no rollback
            problem: Refused | None = None
            if current is not None and envelope != current.revocations.envelope:
                try:
                    current = self._follow(current, envelope, now)  # (2)
                except Refused as error:
                    if offer and error.code == "list.rollback":  # it was fetched, and a newer one, before it was heard
                        return current
                    problem = error
            if current is None or problem or (self._trust_is_due(now) if trust is None else trust):
                current = self._renew(current, envelope, now, problem)
            if offer and self._head is not None:
                self._outrun = self._head.body
            return current

    def ahead(self, ground: Ground, now: datetime, offer: Announcement | None = None) -> Ground:
        """The ground with the server's list in force, in memory alone: before it is stored, and where nothing can be.

        Args:
            ground: what is in force.
            now: the moment to judge at (aware, UTC).
            offer: a head that was pushed, in place of a fetched one.

        Raises:
            Unreachable: ``unreachable.server``.
            Refused: a ``list.*`` or ``format.*`` code.
        """
        envelope = offer.head if offer else self._fetch_head()
        if envelope == ground.revocations.envelope:
            return ground
        return ground.following(apply_head(ground.revocations, envelope, _Files(self, offer), ground.trust, now))

    @property
    def in_force(self) -> InForce | None:
        """What the last pass left in force, also when it ended in a refusal; None before the first."""
        return self._in_force

    # -- the pass ------------------------------------------------------------------------------------------------------

    def _trust_is_due(self, now: datetime) -> bool:
        return self._trust_fetched is None or abs(now - self._trust_fetched) >= TRUST_INTERVAL

    def _record(self) -> State:
        """What this host has seen; written anew from what this process knows, where it is gone, damaged or older."""
        last = self._last
        try:
            state = self.home.state()
            if last is not None:
                state.seen.check_follows(last.state.seen)
            return state
        except Refused as error:
            if last is None:
                raise  # nobody knows what it said
            logger.warning("the record of what this host has seen is written anew: %s", error)
            self.home.restore(last.state)
            return last.state

    def _current(self, state: State, *, again: bool) -> InForce | None:
        """What is in force, judged at the last signed moment: a record of the past, not a permission to load.

        Args:
            state: the record.
            again: read it from disk also if the record is as it was.
        """
        if again or self._in_force is None or self._in_force.state != state:
            try:
                self._in_force = self.home.in_force(state.seen.issued.instant) if state.trust else None
            except Refused as error:
                logger.warning("what this host has stored does not verify and is fetched again: %s", error)
                self._in_force = None
        return self._in_force

    def _follow(self, current: InForce, envelope: bytes, now: datetime) -> InForce:
        """Steps 2 and 5: a new head under the trust in force."""
        files = _Files(self, self._offer)
        revocations = apply_head(current.revocations, envelope, files, current.trust, now)
        return self._adopt(current, _Candidate(current.trust, None, revocations), files)

    def _renew(self, current: InForce | None, envelope: bytes, now: datetime, problem: Refused | None) -> InForce:
        """Steps 3 to 5: new trust, and the head under it."""
        stored, trust = self._fetch_trust(current, now)
        self._trust_fetched = now
        if current is not None and hashlib.sha256(stored).hexdigest() == current.state.trust:
            if problem is not None:
                raise problem
            return current
        files = _Files(self, self._offer)
        try:
            revocations = apply_head(current.revocations if current else None, envelope, files, trust, now)  # (4)
            if current is None and self._last is not None:
                check_history(self._last.revocations, revocations)
        except Refused:
            if current is not None:
                self._renew_trust_alone(current, stored, trust, now)
            raise
        return self._adopt(current, _Candidate(trust, stored, revocations), files)

    def _renew_trust_alone(self, current: InForce, stored: bytes, trust: Trust, now: datetime) -> None:
        """Adopt trust without the new head, if the list in force holds under it.

        Whoever withholds or spoils heads must not be able to withhold a policy as well.
        """
        files = _Files(self, self._offer)
        try:
            revocations = open_list(current.revocations.envelope, files, trust, now, current.revocations)
        except Refused as error:
            logger.warning("new trust waits for a head that fits it: %s", error)
        else:
            self._adopt(current, _Candidate(trust, stored, revocations), files)

    def _adopt(self, current: InForce | None, new: _Candidate, files: _Files) -> InForce:
        """Step 5: content first, the record last, and only then the sweep."""
        blobs, old = self.home.blobs, self.home.state()
        issued = max(old.seen.issued, new.revocations.head.issued)
        seen = seen_by(new.trust, new.revocations, issued)
        seen.check_follows(old.seen)
        for kind, data in files.fetched.values():
            blobs.write(kind, data)
        base = new.revocations.base.data
        if isinstance(base, bytes):  # it may have been computed and never fetched; what is mapped lies there
            blobs.write("bases", base)
        for segment in new.revocations.tail:
            if not blobs.path("segments", segment.ref.sha256).exists():  # made of neighbours, likewise
                blobs.write("segments", dump_set_file(segment.prefixes))
        trust = old.trust if new.stored is None else blobs.write("trust", new.stored)
        state = State(v=1, seen=seen, trust=trust, head=blobs.write("heads", new.revocations.envelope))
        self.home.commit(state)
        self._sweep(old, state, new.revocations, current.revocations if current else None)
        host = self.home.host
        self._in_force = InForce(state, host.deployment, self.home.floor(state), new.trust, new.revocations)
        return self._in_force

    def _sweep(self, old: State, new: State, *lists: RevocationList | None) -> None:
        # The state before this one is kept once more: another process may have read its record a moment ago.
        keep = {name for name in (old.trust, old.head, new.trust, new.head) if name}
        for revocations in lists:
            if revocations is not None:
                head, checkpoint = revocations.head, revocations.checkpoint
                keep |= {ref.sha256 for ref in head.segments}
                keep |= {head.rules.sha256, checkpoint.root, checkpoint.rules}
        try:
            self.home.sweep(keep)
        except Unreachable as error:
            logger.warning("files that are out of use stay: %s", error)

    # -- the server ----------------------------------------------------------------------------------------------------

    def _fetch_head(self) -> bytes:
        known = self._head
        response = self.transport.get(HEAD_URL, HEAD_LIMIT, known.etag if known else None)
        if known is None or response.status == 200:
            self._head = known = response
        return known.body

    def _fetch_trust(self, current: InForce | None, now: datetime) -> tuple[bytes, Trust]:
        from verifier.deployment.tuf_client import Fetcher, fetch_repository

        self._fetcher = self._fetcher or Fetcher(self.transport)
        state = self.home.state()
        known = self.home.stored_trust(state.trust) if current is not None and state.trust else None
        with _staging(self.home.directory) as staging:
            stored = fetch_repository(self._fetcher, self.transport.server, self.home.pinned_root, known, Path(staging))
        trust = self.home.verify(stored, state)
        trust.check(self.home.host.deployment, self.home.floor(state), now)
        _check_fresh(trust, now)
        return _dumped(stored), trust


class _Files:
    """Reads what a head or checkpoint names: from the directory if it is there, else the segment that was pushed along,
    else from the server.

    Nothing is written: what was fetched is kept in ``fetched`` until all of it has been judged.
    """

    def __init__(self, refresher: Refresher, offer: Announcement | None) -> None:
        self._refresher = refresher
        self._offered = {sha256_hex(offer.segment): offer.segment} if offer and offer.segment else {}
        self.fetched: dict[Hex, tuple[FileKind, bytes]] = {}

    def __call__(self, kind: FileKind, sha256: Hex) -> Buffer:
        try:
            return self._refresher.home.blobs.read(kind, sha256)
        except Refused:  # absent or damaged: another copy is judged by the same digest
            data = self._offered.get(sha256) if kind == "segments" else None
            if data is None:
                data = self._refresher.transport.get(f"/lists/{kind}/{sha256}", KINDS[kind].limit).body
            self.fetched[sha256] = (kind, data)
            return data


def _staging(directory: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        # What cannot be removed afterwards is swept later; it must not hide what went wrong before.
        return tempfile.TemporaryDirectory(dir=directory, prefix=STAGING, ignore_cleanup_errors=True)
    except OSError as error:
        raise Unreachable(
            "io.failed", f"cannot write {directory.name!r}", found=error.strerror or str(error)
        ) from error


def _dumped(stored: StoredTrust) -> bytes:
    ordered = StoredTrust(
        v=1, metadata=dict(sorted(stored.metadata.items())), targets=dict(sorted(stored.targets.items()))
    )
    return strict_json.dumps(ordered)


def _check_fresh(trust: Trust, now: datetime) -> None:
    """Demand that what was just fetched has not expired: a frozen repository must be noticed (TUF 1.0, section 5)."""
    expired = {role: facts.expires for role, facts in trust.roles.items() if facts.expires <= now}
    if expired:
        role, moment = min(expired.items(), key=lambda item: item[1])
        raise Refused(
            "trust.metadata",
            "the server's trust metadata has expired",
            found=f"{role} expired at {moment:%Y-%m-%dT%H:%M:%SZ}",
            expected="metadata that the server signs again before it expires",
            todo="Ask the operator: the service has stopped signing, or something in between serves an old copy.",
        )


def _check_clock(state: State, now: datetime) -> None:
    if now < state.seen.issued.instant - CLOCK_SKEW:
        raise Refused(
            "clock.behind",
            "this machine's clock is behind a moment that was already signed",
            found=f"{now:%Y-%m-%dT%H:%M:%SZ}",
            expected=f"{state.seen.issued} or later",
        )
