"""The audit log: a chain of entries, and how it is verified. Pure; where it is kept is the business of the store.

The format is that of ``docs/spec/audit-log.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from verifier.errors import FormatError, LoadlockError, Refused
from verifier.formats.revocations import AuditHead, sha256_hex
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import Hex, Time

MAX_ENTRY = 16 * 1024
"""Size cap of an entry in bytes."""
MAX_DETAIL = 12 * 1024
"""Size cap of an entry's detail in bytes."""
MAX_SUBJECT = 500
"""How many characters a subject may have."""

NO_ENTRY = Hex("0" * 64)
"""What stands for the hash of the entry before the first."""
EMPTY = AuditHead(count=0, sha256=NO_ENTRY)
"""The state of a log without entries."""

Action = Literal[
    "deployment.create", "artifact.admit", "artifact.revoke", "list.publish", "trust.resign",
    "policy.sign", "enrolment.sign", "token.create", "token.revoke", "access.denied",
    "rule.add", "reinstatement.request", "reinstatement.approve", "checkpoint.prepare", "checkpoint.publish",
    "list.recover", "trust.prepare", "trust.rotate", "deployment.restore", "session.begin", "session.end",
    "waiver.request", "waiver.approve", "waiver.end", "host.forget",
    "expiry.warn", "coverage.warn", "list.sweep",
]  # fmt: skip


class Entry(Document, frozen=True, kw_only=True):
    """One entry; equal entries have equal bytes."""

    v: Literal[1]
    index: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    time: Time
    actor: Annotated[str, Meta(min_length=1, max_length=200)]
    action: Action
    subject: Annotated[str, Meta(max_length=MAX_SUBJECT)]
    detail: dict[str, Any]
    previous: Hex


class Act(NamedTuple):
    """What is to be recorded: who did what to what, with which particulars."""

    actor: str
    action: Action
    subject: str
    detail: dict[str, Any]


def append(state: AuditHead, act: Act, now: datetime) -> tuple[bytes, AuditHead]:
    """The next entry's bytes, and the log's state with it.

    Args:
        state: the log's state so far.
        act: what is to be recorded.
        now: the moment (aware, UTC).

    Raises:
        FormatError: ``format.too-large``; ``format.schema`` for an unknown action.
    """
    entry = Entry(
        v=1,
        index=state.count,
        time=Time.of(now),
        actor=act.actor,
        action=act.action,
        subject=act.subject[:MAX_SUBJECT],
        detail=_sorted(act.detail),
        previous=state.sha256,
    )
    if len(dumps(entry.detail)) > MAX_DETAIL:
        raise FormatError("format.too-large", "an audit entry's detail is too large", expected=f"{MAX_DETAIL} bytes")
    line = dumps(entry)
    parse_entry(line)
    return line, AuditHead(count=state.count + 1, sha256=sha256_hex(line))


def parse_entry(line: bytes) -> Entry:
    """Read one entry.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return parse(line, Entry, limit=MAX_ENTRY, what="audit entry")


def verify_log(lines: Iterable[bytes], anchor: AuditHead) -> AuditHead:
    """Demand that ``lines`` are one unbroken log that ``anchor`` vouches for.

    Args:
        lines: every entry's bytes, from the first one on.
        anchor: the ``audit`` of a head whose signature has been verified.

    Returns:
        The state at the log's end, at or past the anchor.

    Raises:
        Refused: ``audit.chain``, with the place.
    """
    state, anchored = EMPTY, anchor.count == 0 and anchor.sha256 == NO_ENTRY
    for line in lines:
        state = _follow(state, line)
        if state.count == anchor.count:
            if state.sha256 != anchor.sha256:
                raise _broken(anchor.count - 1, "another log than the one that was anchored", anchor.sha256)
            anchored = True
    if not anchored:
        raise _broken(state.count, "the log ends here", f"{anchor.count} entries at least")
    return state


def follow_log(lines: Iterable[bytes], start: AuditHead, anchors: Iterable[AuditHead]) -> list[Entry]:
    """Demand that ``lines`` continue the log from ``start`` on without a break, through every one of ``anchors``.

    Args:
        lines: the entries' bytes after ``start``.
        start: a state that somebody vouched for.
        anchors: later states that somebody vouched for.

    Returns:
        The entries.

    Raises:
        Refused: ``audit.chain``, with the place.
    """
    state, states, entries = start, {start}, []
    for line in lines:
        state = _follow(state, line)
        states.add(state)
        entries.append(parse_entry(line))
    for anchor in anchors:
        if anchor not in states:
            raise _broken(anchor.count, f"a log of {state.count} entries without this state", anchor.sha256)
    return entries


def _follow(state: AuditHead, line: bytes) -> AuditHead:
    try:
        entry = parse_entry(line)
    except LoadlockError as error:
        raise _broken(state.count, str(error.what), "an audit entry") from error
    if entry.index != state.count:
        raise _broken(state.count, f"index {entry.index}", f"index {state.count}")
    if entry.previous != state.sha256:
        raise _broken(state.count, f"previous {entry.previous}", f"previous {state.sha256}")
    return AuditHead(count=state.count + 1, sha256=sha256_hex(line))


def _broken(index: int, found: str, expected: str) -> Refused:
    return Refused("audit.chain", f"the audit log is broken at entry {index}", found=found, expected=expected)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
