"""The door: who comes in, who is in, who leaves. What they may do there is the business of
:mod:`crl_server.access.roles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crl_server.access import tokens
from crl_server.access.issuers import Issuer
from crl_server.access.roles import ALLOWED, STAFF, Identity, Operation, is_same
from crl_server.console import sessions
from crl_server.console.place import Place
from crl_server.records.audit import Act
from crl_server.service import Authority
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import ConsoleSession
from verifier.errors import Refused
from verifier.formats.revocations import sha256_hex
from verifier.formats.strict_json import dumps

TOKEN = "token:"
ISSUER = "oidc:"


@dataclass(frozen=True)
class Visitor:
    """Somebody who is signed in.

    Attributes:
        identity: who it is.
        form_token: what their forms carry.
        now: the moment of the request.
    """

    identity: Identity
    form_token: str
    now: datetime

    def is_named(self, actor: str) -> bool:
        """Whether that is the name of this visitor, or counts as it."""
        return is_same(self.identity.actor, actor)

    def offered(self, operation: Operation) -> bool:
        """Whether pages show the way to ``operation``; whether it is allowed is judged when it is asked for."""
        return bool(self.identity.roles & ALLOWED[operation])


class Door:
    """Begins, judges and ends sessions.

    Args:
        authority: the deployment.
        place: where the console stands.
    """

    def __init__(self, authority: Authority, place: Place) -> None:
        self._authority = authority
        self._place = place

    def enter(self, token: str, before: str, now: datetime) -> str:
        """Let in whoever presents an API token; returns the new session's secret.

        Args:
            token: the token.
            before: the secret that the browser has sent, if any: that session ends, and is never taken over.
            now: the moment (aware, UTC).

        Raises:
            Refused: ``auth.token``; ``auth.role`` for the token of a host.
            UsageError: ``usage.configuration`` where nobody can sign in safely.
        """
        self._place.check()
        if not token.startswith(tokens.PREFIX):
            raise Refused("auth.token", "this takes an API token", expected=f"a token that begins with {tokens.PREFIX}")
        identity = self._authority.identify(token, now)
        if not identity.roles & frozenset(STAFF):
            raise Refused("auth.role", f"{identity.actor} is no person's token", expected=f"one of {', '.join(STAFF)}")
        return self._begin(identity, identity.actor, before, now)

    def enter_through(self, issuer: Issuer, identity: Identity, before: str, now: datetime) -> str:
        """Let in whom an issuer has vouched for; arguments and errors as :meth:`enter`.

        Raises:
            Refused: ``auth.role`` for somebody whom no grant of the operator's fits.
        """
        self._place.check()
        if not identity.roles:
            raise Refused("auth.role", f"{identity.actor} has no role here", found="no grant that fits",
                          expected="a grant in server/issuers.toml")  # fmt: skip
        return self._begin(identity, _source(issuer), before, now)

    def visitor(self, secret: str, now: datetime, *, counts: bool = True) -> Visitor:
        """Who the session of that secret is of.

        Args:
            secret: what the browser has sent.
            now: the moment (aware, UTC).
            counts: whether this is the person's doing; what a page fetches by itself keeps no session open.

        Raises:
            Refused: ``auth.session``.
            Unreachable: ``io.failed``.
        """
        with self._authority.store.read() as ledger:
            row = sessions.find(ledger, secret, now)
            identity = self._judged(ledger, row, now)
        if counts and sessions.is_due(row, now):
            with self._authority.store.write() as ledger:
                sessions.touch(ledger, secret, now)
        return Visitor(identity, sessions.form_token(secret), now)

    def leave(self, secret: str, now: datetime) -> None:
        """End a session, if there is one.

        Raises:
            Unreachable: ``io.failed``.
        """
        with self._authority.store.write() as ledger:
            actor = sessions.end(ledger, secret)
            if actor is not None:
                ledger.record(Act(actor, "session.end", "console", {}), now)

    def _begin(self, identity: Identity, source: str, before: str, now: datetime) -> str:
        with self._authority.store.write() as ledger:
            sessions.end(ledger, before)
            secret = sessions.begin(ledger, identity, source, now)
            ledger.record(Act(identity.actor, "session.begin", "console", {"roles": sorted(identity.roles)}), now)
        return secret

    def _judged(self, ledger: Ledger, row: ConsoleSession, now: datetime) -> Identity:
        """Who it is, as long as what the session rests on is still so: the token in force, the issuer unchanged."""
        if row.source.startswith(TOKEN):
            try:
                return tokens.identity_of(ledger, row.source.removeprefix(TOKEN), now)
            except Refused as refusal:
                raise Refused("auth.session", "the session's token is no longer in force") from refusal
        if row.source not in {_source(issuer) for issuer in self._authority.issuers}:
            raise Refused("auth.session", "the session's issuer is not the one it was")
        return sessions.identity_of(row)


def _source(issuer: Issuer) -> str:
    """An issuer and all that the operator says of it, grants included: when that changes, its sessions end."""
    return f"{ISSUER}{issuer.name}:{sha256_hex(dumps(issuer))}"
