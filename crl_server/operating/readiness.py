"""Whether the service can do its work now: what ``/readyz`` and the metrics tell."""

from __future__ import annotations

import os
from datetime import datetime

from crl_server.service import Authority, Standing
from crl_server.trust.signing import SigningKey
from verifier.deployment.trust import Trust
from verifier.errors import LoadlockError, Refused
from verifier.formats.text import Time


def check_ready(authority: Authority, now: datetime) -> Standing:
    """Demand that all of this is so:

    1. the database answers
    2. trust and list verify as on a host
    3. nothing of them has expired, or hosts would go by it no more
    4. a revocation could be published now: the head key is there, the policy names it, and the tree can be written

    Raises:
        Refused: ``server.not-ready``, ``trust.*``.
    """
    try:
        with authority.store.read() as ledger:  # (1)
            ledger.last_seq()
    except LoadlockError as error:
        raise _not_ready("the database does not answer", error.found) from error
    standing = authority.standing(now)  # (2)
    for found in authority.expiries(now):
        if found.ends <= now and not found.name.startswith("head-key:"):  # (3); head keys may come and go
            raise _not_ready(f"{found.what} has expired", Time.of(found.ends))
    _check_publishable(authority, standing.trust, now)  # (4)
    return standing


def _check_publishable(authority: Authority, trust: Trust, now: datetime) -> None:
    try:
        key = SigningKey.read(authority.layout.online / "head.pem").public.id
    except LoadlockError as error:
        raise _not_ready("the head key cannot be used", error.what) from error
    if not any(named.key == key and now < named.not_after.instant for named in trust.policy.head_keys):
        raise _not_ready("the policy names no such head key, or its time is over", key)
    if not os.access(authority.layout.head.parent, os.W_OK):
        raise _not_ready("the public tree cannot be written", authority.layout.head.parent.name)


def _not_ready(what: str, found: str) -> Refused:
    return Refused("server.not-ready", what, found=found)
