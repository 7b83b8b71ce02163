"""Events as CloudEvents 1.0 in structured JSON, made of entries of the audit log.

The audit log is the outbox: an entry is written in the transaction of the change itself, is never altered, and has a
number of its own. Nothing is written twice, and nothing that was committed goes unheard.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from crl_server.records.audit import Action, Entry, parse_entry
from crl_server.settings import Topic
from verifier.formats.revocations import sha256_hex
from verifier.formats.strict_json import dumps

MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"
PREFIX = "dev.loadlock."
"""What stands before an action that nobody but an export tells of."""
TEST = "dev.loadlock.test"
"""The type of an event that says nothing but that events arrive."""


class Kind(NamedTuple):
    """A kind of event: the type that receivers see, and the topic that it belongs to."""

    type: str
    topic: Topic


KINDS: Mapping[Action, Kind] = {
    "artifact.revoke": Kind("dev.loadlock.artifact.revoked", "revocation"),
    "rule.add": Kind("dev.loadlock.rule.added", "rule"),
    "reinstatement.request": Kind("dev.loadlock.reinstatement.requested", "reinstatement"),
    "reinstatement.approve": Kind("dev.loadlock.reinstatement.approved", "reinstatement"),
    "checkpoint.publish": Kind("dev.loadlock.checkpoint.published", "reinstatement"),
    "expiry.warn": Kind("dev.loadlock.expiry.approaching", "expiry"),
    "coverage.warn": Kind("dev.loadlock.coverage.lagging", "coverage"),
}
"""Which acts others are told of."""


class Event(NamedTuple):
    """An event on its way: its id, which stays the same however often it is sent, and its body."""

    id: str
    body: bytes


def kind_of(line: bytes) -> Kind | None:
    """The kind of event that an entry of the audit log makes, if it makes one.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return KINDS.get(parse_entry(line).action)


def event_of(line: bytes, source: str) -> Event:
    """The event of an entry of the audit log.

    Args:
        line: the entry's bytes.
        source: the server's address.

    Raises:
        FormatError: any ``format.*`` code.
    """
    entry: Entry = parse_entry(line)
    sha256 = sha256_hex(line)
    data = {"actor": entry.actor, **entry.detail, "audit": {"index": entry.index, "sha256": sha256}}
    identity = f"{entry.index}.{sha256[:16]}"
    kind = KINDS.get(entry.action)
    return _event(identity, kind.type if kind else PREFIX + entry.action, source, entry.time, entry.subject, data)


def probe(source: str, time: str) -> Event:
    """An event for trying things out; each has an id of its own."""
    return _event(f"test.{uuid.uuid4().hex}", TEST, source, time, "test", {})


def _event(identity: str, kind: str, source: str, time: str, subject: str, data: dict[str, Any]) -> Event:
    document = {
        "specversion": "1.0",
        "id": identity,
        "source": source,
        "type": kind,
        **({"subject": subject} if subject else {}),  # a subject that is there must not be empty
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    }
    return Event(identity, dumps(document))
