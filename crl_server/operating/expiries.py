"""What expires: when, and whether people or the service itself have to renew it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from crl_server.lists.publishing import Publisher
from crl_server.trust.tuf_roles import CHECKPOINTS_LIFE, ROOT_LIFE, SNAPSHOT_LIFE, TARGETS_LIFE, TIMESTAMP_LIFE
from verifier.deployment.trust import Trust
from verifier.errors import LoadlockError
from verifier.formats.revocations import Head
from verifier.formats.text import Time

HEAD_KEY_LIFE = timedelta(days=365)
"""How long a head key is made to sign."""
NEAR = 3
"""What has less than this part of its life left is about to expire: the last third."""


class Expiry(NamedTuple):
    """Something that expires.

    Attributes:
        name: what it is called in metrics and events, such as ``policy`` or ``head``.
        what: what it is, for people.
        ends: when.
        life: for how long it is made.
        renewed_by: who renews it. What the service renews and is about to expire nonetheless could not be signed.
    """

    name: str
    what: str
    ends: datetime
    life: timedelta
    renewed_by: Literal["people", "service"]

    def near(self, now: datetime) -> bool:
        """Whether it is in the last third of its life."""
        return self.ends - now < self.life / NEAR

    def told(self, now: datetime) -> str:
        """What people are told of it."""
        verb = "expired" if self.ends <= now else "expires"
        why = "" if self.renewed_by == "people" else ", and the server could not renew it so far"
        return f"{self.what} {verb} at {Time.of(self.ends)}{why}"


def expiries(trust: Trust, publisher: Publisher, life: timedelta, now: datetime) -> tuple[Expiry, ...]:
    """All that expires in a deployment.

    Args:
        trust: the trust in force.
        publisher: knows the list that is served.
        life: for how long a head is signed.
        now: the moment (aware, UTC).
    """
    try:
        head = publisher.read(trust, now).head
    except LoadlockError:
        head = None  # there is no list that verifies: readyz tells
    return tuple(_expiries(trust, head, life))


def _expiries(trust: Trust, head: Head | None, life: timedelta) -> Iterator[Expiry]:
    roles = trust.roles
    for role, long in (("root", ROOT_LIFE), ("checkpoints", CHECKPOINTS_LIFE), ("targets", TARGETS_LIFE)):
        yield Expiry(role, f"the {role} metadata", roles[role].expires, long, "people")
    yield Expiry("policy", "the policy", trust.policy.valid_until.instant, TARGETS_LIFE, "people")
    for key in trust.policy.head_keys:
        yield Expiry(f"head-key:{key.key}", f"head key {key.key}", key.not_after.instant, HEAD_KEY_LIFE, "people")
    for role, long in (("snapshot", SNAPSHOT_LIFE), ("timestamp", TIMESTAMP_LIFE)):
        yield Expiry(role, f"the {role} metadata", roles[role].expires, long, "service")
    if head is not None:
        yield Expiry("head", "the signed list", head.expires.instant, life, "service")
