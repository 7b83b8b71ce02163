"""OpenID Connect bearer tokens: who presents one, judged by keys of the issuers that the operator named.

docs/spec/issuers.md gives the rules; PyJWT does the cryptography, and nothing else is left to it: which algorithm goes
with which key, how a document is read and what time it is are decided here.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import SplitResult

import jwt

from crl_server.access.issuers import LOOPBACK, Grant, Issuer
from crl_server.access.roles import ROLES, Identity
from verifier.addresses import split
from verifier.errors import LoadlockError, Refused, Unreachable
from verifier.formats.strict_json import loads
from verifier.refreshing.transport import Transport

MAX_TOKEN: Final = 16 * 1024
"""Size cap of a token in characters."""
MAX_DOCUMENT: Final = 256 * 1024
"""Size cap of a discovery document and of a key set in bytes."""
ALGORITHMS: Final = frozenset({"RS256", "PS256", "ES256", "ES384", "EdDSA"})
TYPES: Final = frozenset({"jwt", "at+jwt"})
TOLERANCE: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(days=1)
"""For how long a token may be valid."""
FRESH: Final = timedelta(minutes=10)
"""For how long a key set serves before it is fetched again."""
KEPT: Final = timedelta(hours=1)
"""For how long a key set serves while the issuer does not answer."""
AGAIN: Final = timedelta(minutes=1)
"""How long to wait before an unknown key makes the set be fetched once more: anybody can name an unknown key."""
WAIT: Final = 5.0
"""How long, in seconds, to wait while somebody else asks the same issuer."""
DISCOVERY: Final = "/.well-known/openid-configuration"


@dataclass
class _KeySet:
    """An issuer's keys by ``kid``, when they were fetched and last asked for, and the lock of who asks."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    fetched: datetime | None = None
    tried: datetime | None = None

    def serving(self, kid: str, now: datetime) -> jwt.PyJWK | None:
        """The key of that id, of a set that is not too old."""
        return None if self.fetched is None or abs(now - self.fetched) >= KEPT else self.keys.get(kid)


class Issuers:
    """Knows who presents a token. Safe from any thread.

    Args:
        issuers: whose tokens are taken.
    """

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._issuers = {issuer.url: issuer for issuer in issuers}
        self._sets = {url: _KeySet() for url in self._issuers}

    def identify(self, token: str, now: datetime) -> Identity:
        """Who presents this token, and in which roles.

        Args:
            token: a JWT in its compact form.
            now: the moment (aware, UTC).

        Raises:
            Refused: ``auth.token``.
            Unreachable: ``unreachable.issuer``.
        """
        header, hinted = _unverified(token)
        issuer = self._issuers.get(hinted) if isinstance(hinted, str) else None
        if issuer is None:
            raise _invalid("of an issuer that is not taken here")
        claims = self._verified(token, header, issuer, now)
        _check_claims(claims, issuer, issuer.audience, now)
        return _identity(claims, issuer)

    def identify_login(self, token: str, issuer: Issuer, client: str, nonce: str, now: datetime) -> Identity:
        """Who has signed in at an issuer, by the ID token that it handed over (OpenID Connect Core 1.0, 3.1.3.7).

        Args:
            token: the ID token.
            issuer: where they signed in; it is one of those that this was made with.
            client: the console's client id there.
            nonce: what the token has to repeat, so that it belongs to this attempt and to no other.
            now: the moment (aware, UTC).

        Raises:
            Refused: ``auth.token``.
            Unreachable: ``unreachable.issuer``.
        """
        header, hinted = _unverified(token)
        if hinted != issuer.url:
            raise _invalid("of another issuer than the one that was asked")
        claims = self._verified(token, header, issuer, now)
        _check_claims(claims, issuer, client, now)
        if claims.get("azp", client) != client:
            raise _invalid("meant for another client")
        if claims.get("nonce") != nonce:
            raise _invalid("of another attempt to sign in")
        return _identity(claims, issuer)

    def _verified(self, token: str, header: Mapping[str, Any], issuer: Issuer, now: datetime) -> Mapping[str, Any]:
        key = self._key(issuer, header, now)
        if header.get("alg") != key.algorithm_name:
            raise _invalid(f"signed by the algorithm {header.get('alg')!a:.40}, which is not its key's")
        try:
            payload = jwt.PyJWS().decode(token, key, algorithms=[key.algorithm_name])
        except jwt.PyJWTError as error:
            raise _invalid("not signed by the issuer's key") from error
        return _object(payload, "its claims")

    # -- keys ----------------------------------------------------------------------------------------------------------

    def _key(self, issuer: Issuer, header: Mapping[str, Any], now: datetime) -> jwt.PyJWK:
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise _invalid("without the id of its key")
        known = self._sets[issuer.url]
        held = known.serving(kid, now)
        # While one asks the issuer, the others go by what is known: an issuer that hangs keeps one thread, not all.
        if known.lock.acquire(timeout=WAIT if held is None else 0):
            try:
                self._refresh(issuer, known, kid, now)
                held = known.serving(kid, now)
            finally:
                known.lock.release()
        elif held is None:
            raise unreachable(issuer, "it is being asked, and does not answer")
        if held is None:
            raise _invalid("signed by a key that the issuer does not name")
        return held

    def _refresh(self, issuer: Issuer, known: _KeySet, kid: str, now: datetime) -> None:
        """Fetch the key set where it is old, or where a new key may be in it."""
        old = known.fetched is None or abs(now - known.fetched) >= FRESH
        if not old and kid in known.keys:
            return
        if known.tried is not None and abs(now - known.tried) < AGAIN:
            if known.fetched is None:
                raise unreachable(issuer, "it did not answer a moment ago")
            return
        known.tried = now
        try:
            known.keys, known.fetched = _fetch_keys(issuer), now
        except LoadlockError as error:
            if known.fetched is None or abs(now - known.fetched) >= KEPT:
                known.keys, known.fetched = {}, None
                raise unreachable(issuer, f"[{error.code}] {error.what}") from error


def discover(issuer: Issuer) -> dict[str, Any]:
    """An issuer's discovery document.

    Raises:
        Unreachable: ``unreachable.issuer``, ``unreachable.server``.
        FormatError: any ``format.*`` code.
    """
    document = _fetched(issuer.url.rstrip("/") + DISCOVERY)
    if document.get("issuer") != issuer.url:
        raise unreachable(issuer, "its discovery document is another issuer's")
    return document


def endpoint(issuer: Issuer, document: Mapping[str, Any], name: str) -> str:
    """An address that a discovery document names; behind TLS, or on loopback.

    Raises:
        Unreachable: ``unreachable.issuer``.
    """
    where = document.get(name)
    if not isinstance(where, str) or not where.isascii() or not where.isprintable() or not _is_safe(split(where)):
        raise unreachable(issuer, f"its discovery document has no usable {name}")
    return where


def _is_safe(parts: SplitResult) -> bool:
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _fetch_keys(issuer: Issuer) -> dict[str, jwt.PyJWK]:
    """The keys of an issuer that are for signatures, by their ids."""
    where = discover(issuer).get("jwks_uri")
    if not isinstance(where, str):
        raise unreachable(issuer, "its discovery document names no keys")
    keys = _fetched(where).get("keys")
    found: dict[str, jwt.PyJWK] = {}
    for entry in keys if isinstance(keys, list) else []:
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig" and isinstance(entry.get("kid"), str):
            try:
                key = jwt.PyJWK(entry)
            except (jwt.PyJWTError, ValueError, TypeError, KeyError):
                continue  # a key of a kind that nothing here is signed with
            if key.algorithm_name in ALGORITHMS:
                found[entry["kid"]] = key
    return found


def _fetched(url: str) -> dict[str, Any]:
    parts = split(url)
    if not _is_safe(parts):
        raise Unreachable("unreachable.issuer", "an issuer's document is not behind TLS", found=repr(url[:200]))
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    response = Transport(f"{parts.scheme}://{parts.netloc}").get(path or "/", MAX_DOCUMENT)
    return _object(response.body, "an issuer's document")


# -- the token ---------------------------------------------------------------------------------------------------------


def _unverified(token: str) -> tuple[Mapping[str, Any], object]:
    """The header, and who the token says has issued it: that much has to be known to choose the key."""
    parts = token.split(".")
    if len(token) > MAX_TOKEN or len(parts) != 3 or not token.isascii():
        raise _invalid("not of the form of one")
    header, claims = (_object(_decoded(part), "a part of it") for part in parts[:2])
    if "crit" in header or str(header.get("typ", "JWT")).lower() not in TYPES:
        raise _invalid("of another kind, or with extensions that are not known here")
    return header, claims.get("iss")


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("not of the form of one") from error


def _object(data: bytes, what: str) -> dict[str, Any]:
    value = loads(data, limit=MAX_DOCUMENT, what=what)
    if not isinstance(value, dict):
        raise _invalid(f"{what} is no JSON object")
    return value


def _check_claims(claims: Mapping[str, Any], issuer: Issuer, expected: str, now: datetime) -> None:
    if claims.get("iss") != issuer.url:
        raise _invalid("of another issuer than it says")
    audience = claims.get("aud")
    if expected not in (audience if isinstance(audience, list) else [audience]):
        raise _invalid(f"for {audience!a:.100}", f"one for {expected!a}")
    issued, ends = _moment(claims, "iat"), _moment(claims, "exp")
    begins = _moment(claims, "nbf") if "nbf" in claims else issued
    if ends - issued > LONGEST.total_seconds():
        raise _invalid("valid for more than a day")
    clock, tolerance = now.timestamp(), TOLERANCE.total_seconds()
    if clock >= ends + tolerance:
        raise _invalid("expired")
    if clock < max(issued, begins) - tolerance:
        raise _invalid("not valid yet")


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"without the claim {name!r}")
    return float(value)


def _identity(claims: Mapping[str, Any], issuer: Issuer) -> Identity:
    subject = claims.get(issuer.subject)
    if not isinstance(subject, str) or not 1 <= len(subject) <= 120 or not subject.isprintable():
        raise _invalid(f"without a usable claim {issuer.subject!a:.60}, which says whose it is")
    grants = [grant for grant in issuer.grant if _fits(grant, claims)]
    held = {role for grant in grants for role in grant.roles}
    plugins = frozenset(plugin for grant in grants for plugin in grant.plugins)
    return Identity(f"oidc:{issuer.name}:{subject}", frozenset(role for role in ROLES if role in held), plugins)


def _fits(grant: Grant, claims: Mapping[str, Any]) -> bool:
    return all(wanted in _texts(claims.get(name)) for name, wanted in grant.claims.items())


def _texts(value: object) -> list[str]:
    """A claim as texts to compare with: one, or those of a list. Numbers have several spellings and are none."""
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    return [value] if isinstance(value, str) else []


def _invalid(found: str, expected: str = "a token that is known and in force") -> Refused:
    return Refused(
        "auth.token", "the token is not valid", found=f"one that is {found}", expected=expected,
        todo="Ask the issuer for a new token; the operator's server/issuers.toml says which are taken.",
    )  # fmt: skip


def unreachable(issuer: Issuer, found: str) -> Unreachable:
    """The error that says what is wrong with an issuer."""
    return Unreachable("unreachable.issuer", f"the keys of the issuer {issuer.name!r} are not to be had", found=found)
