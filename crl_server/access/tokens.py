"""API tokens: made, presented, taken back. What their roles allow is the business of :mod:`crl_server.access.roles`."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import col, select

from crl_server.access.roles import ROLES, Identity, Role
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Token
from verifier.errors import Refused, UsageError
from verifier.formats.text import Hex, Name, PluginId, Time

PREFIX = "loadlock_"
"""What a token begins with, so that scanners for leaked secrets can find it."""
TOKEN_BYTES = 32
MAX_TOKEN = 200
"""How many characters are looked at as a token at all."""
DEFAULT_LIFE = timedelta(days=90)
MAX_PLUGINS = 50
"""How many plugins a token may be for."""
MAX_LIFE = timedelta(days=366)


def create_token(
    ledger: Ledger, name: Name, roles: Sequence[Role], life: timedelta, now: datetime, host: Name | None = None,
    plugins: Sequence[PluginId] = (),
) -> str:  # fmt: skip
    """Make a token; what is returned is shown once and kept nowhere.

    Args:
        ledger: an open transaction.
        name: whose it is.
        roles: what its holder may act as; ``host`` stands alone.
        life: how long it is valid.
        now: the moment (aware, UTC).
        host: with the role ``host``: which one its holder speaks for.
        plugins: with the role ``publisher``: the only plugins that its holder may publish; empty for any.

    Raises:
        UsageError: ``usage.exists`` for a name that was used before; ``usage.arguments`` without roles, for a life
            of more than a year, for a host without its role or the reverse, or for plugins without the role
            ``publisher``.
    """
    if len(plugins) > MAX_PLUGINS or (plugins and "publisher" not in roles):
        raise UsageError(
            "usage.arguments", "plugins go with the role publisher", expected=f"--role publisher, up to {MAX_PLUGINS}"
        )
    if (host is not None) != ("host" in roles) or (host is not None and set(roles) != {"host"}):
        raise UsageError(
            "usage.arguments", "a host's token is for one host and has no other role",
            found=f"roles {', '.join(sorted(set(roles)))}, host {host}", expected="--role host --host NAME, or neither",
        )  # fmt: skip
    if not roles or not timedelta(0) < life <= MAX_LIFE:
        raise UsageError("usage.arguments", "a token needs a role, and an end", expected=f"1 to {MAX_LIFE.days} days")
    if ledger.session.get(Token, name) is not None:
        raise UsageError("usage.exists", f"there is or was a token {name!r}", todo="Choose another name.")
    secret = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    ledger.session.add(
        Token(
            name=name,
            sha256=_hash(secret),
            roles=" ".join(sorted(set(roles))),
            created=Time.of(now),
            expires=Time.of(now + life),
            host=host,
            plugins=" ".join(sorted(set(plugins))) or None,
        )
    )
    return secret


def revoke_token(ledger: Ledger, name: Name, now: datetime) -> None:
    """Take a token back, for good.

    Raises:
        UsageError: ``usage.arguments`` when there is no such token.
    """
    token = ledger.session.get(Token, name)
    if token is None:
        raise UsageError("usage.arguments", f"there is no token {name!r}")
    token.revoked = token.revoked or Time.of(now)
    ledger.session.add(token)


def tokens(ledger: Ledger) -> Sequence[Token]:
    """Every token there is or was, by name."""
    return ledger.session.exec(select(Token).order_by(col(Token.name))).all()


def authenticate(ledger: Ledger, presented: str, now: datetime) -> Identity:
    """Who presents this token.

    Raises:
        Refused: ``auth.token``; it does not say whether the token is unknown, expired or revoked.
    """
    token = None
    if presented.startswith(PREFIX) and len(presented) <= MAX_TOKEN:
        # Looked up by its hash: how far a guess agrees with a token shows in no time that could be measured.
        token = ledger.session.exec(select(Token).where(Token.sha256 == _hash(presented))).first()
    return _identity(token, now)


def identity_of(ledger: Ledger, name: str, now: datetime) -> Identity:
    """Who a token of that name belongs to, for whoever has presented it before.

    Raises:
        Refused: ``auth.token``, as :func:`authenticate`.
    """
    return _identity(ledger.session.get(Token, name), now)


def _identity(token: Token | None, now: datetime) -> Identity:
    if token is None or token.revoked is not None or now >= Time(token.expires).instant:
        raise Refused("auth.token", "the API token is not valid", expected="a token that is known and in force")
    held = set(token.roles.split())
    host = None if token.host is None else Name(token.host)
    plugins = None if token.plugins is None else frozenset(PluginId(plugin) for plugin in token.plugins.split())
    return Identity(f"token:{token.name}", frozenset(role for role in ROLES if role in held), plugins, host)


def _hash(secret: str) -> Hex:
    return Hex(hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest())
