"""The last good ground: what a running host goes by while what lies in its directory is damaged.

A process that has verified its ground once does not need the directory to know what is revoked. When the directory is
damaged later, whatever is missing, cut short, swapped or another deployment's, the process goes on by what it holds
until that expires, warns, and lets the next refresh mend the directory. It does not when the directory's record names
anything newer than what it holds: then this host has heard of revocations that nobody can tell any more.

A process that starts has nothing to go on with, and refuses.
"""

from __future__ import annotations

import mmap
from datetime import datetime, timedelta

import msgspec

from verifier.deployment.ground import Opened
from verifier.deployment.home import Home, State
from verifier.errors import Refused
from verifier.judging.verify import Ground
from verifier.revocation.revocation_list import Buffer, RevocationList
from verifier.revocation.revocations import FileKind, open_list

REOPEN = timedelta(minutes=5)
"""How long what was read from disk serves, if it does not change: a head key's end, for one, comes by itself."""


def is_due(opened: Opened, home: Home, now: datetime) -> bool:
    """Whether to open the directory again: it was damaged, names something else, or time may have told on it."""
    return opened.damage is not None or record_of(home) != opened.found or abs(now - opened.moment) >= REOPEN


def record_of(home: Home) -> State | None:
    """The record of what is in force and was seen, or None for one that cannot be used."""
    try:
        return home.state()
    except Refused:
        return None


def reopen(last: Opened, home: Home, now: datetime) -> Opened:
    """Open a host's directory again; where it is damaged, go on by what was opened last.

    Args:
        last: what this process goes by.
        home: the host's deployment directory.
        now: the clock's time (aware, UTC).

    Raises:
        Refused: the directory is damaged and names something newer than ``last``, or ``last`` is no longer good.
    """
    try:
        opened = Opened.at(home, now)
        # On disk, whoever may write may put an older record back; what this process has seen it does not forget.
        opened.state.seen.check_follows(last.state.seen)
    except Refused as problem:
        return _kept(last, record_of(home), problem, now)
    return opened._replace(ground=_with_news(opened.ground, last.ground.revocations, now))


def _kept(last: Opened, found: State | None, problem: Refused, now: datetime) -> Opened:
    if found is not None:
        try:
            last.state.seen.check_follows(msgspec.structs.replace(found.seen, issued=last.state.seen.issued))
        except Refused:
            raise problem from None
    ground = last.ground
    warning = f"this host's directory is damaged ([{problem.code}] {problem.what}): the last good list serves on"
    good = ground.following(_still_good(ground.revocations, ground, now), warning)
    return Opened(good, last.state, now, found, problem)


def _with_news(ground: Ground, known: RevocationList, now: datetime) -> Ground:
    """The ground under a list that was pushed and could not be stored, where that is newer than what lies on disk."""
    head, stored = known.head, ground.revocations.head
    if (head.epoch, head.seq) <= (stored.epoch, stored.seq):
        return ground
    try:
        return ground.following(_still_good(known, ground, now))
    except Refused:  # under the trust that lies there now it does not hold any more
        return ground


def _still_good(known: RevocationList, ground: Ground, now: datetime) -> RevocationList:
    """A list that was verified before, judged again by trust and time, with nothing read.

    Raises:
        Refused: a ``list.*`` code.
    """
    base = known.base
    if isinstance(base.data, mmap.mmap) and base.sha256 != known.checkpoint.root:
        raise Refused("list.base", "the mapped base was changed where it lies", expected=known.checkpoint.root)
    return open_list(known.envelope, _nothing, ground.trust, max(now, ground.time_floor.instant), known)


def _nothing(kind: FileKind, sha256: str) -> Buffer:
    raise Refused("list.missing", f"a file of the list ({kind}) is not held in memory", expected=sha256)
