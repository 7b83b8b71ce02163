"""``server/issuers.toml``: whose OpenID Connect tokens the API takes, and for which roles (docs/spec/issuers.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from crl_server.access.roles import StaffRole
from crl_server.toml_file import read_toml
from verifier.addresses import split
from verifier.errors import UsageError
from verifier.formats.strict_json import Document
from verifier.formats.text import Name, PluginId

MAX_ISSUERS = 20
MAX_GRANTS = 200
OPENID = "openid"
"""The scope without which an issuer hands out no ID token."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")

_WHAT = "issuers.toml"
Claim = Annotated[str, Meta(min_length=1, max_length=500)]
Scope = Annotated[str, Meta(pattern=r"\A[!#-\[\]-~]{1,100}\Z")]
"""A scope token (RFC 6749 section 3.3)."""


class Grant(Document, frozen=True, kw_only=True):
    """Roles for whoever has all of these claims."""

    roles: Annotated[tuple[StaffRole, ...], Meta(min_length=1, max_length=10)]
    claims: Annotated[dict[Claim, Claim], Meta(min_length=1, max_length=50)]
    plugins: Annotated[tuple[PluginId, ...], Meta(max_length=1000)] = ()


class ConsoleClient(Document, frozen=True, kw_only=True):
    """How the console is known to an issuer, so that people sign in there: its client id, the file with its secret
    (beside ``issuers.toml``; none for a public client), and the scopes that bring the claims of the grants.
    """

    client: Claim
    secret: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")] | None = None
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=20)] = ("openid", "profile")


class Issuer(Document, frozen=True, kw_only=True):
    """One issuer of tokens."""

    name: Name
    url: Annotated[str, Meta(min_length=8, max_length=500)]
    audience: Claim
    subject: Claim = "sub"
    console: ConsoleClient | None = None
    grant: Annotated[tuple[Grant, ...], Meta(min_length=1, max_length=MAX_GRANTS)]


class _Settings(Document, frozen=True, kw_only=True):
    issuer: Annotated[tuple[Issuer, ...], Meta(max_length=MAX_ISSUERS)] = ()


def read_issuers(path: Path) -> tuple[Issuer, ...]:
    """The issuers that a deployment takes tokens of; none where there is no such file.

    Raises:
        FormatError: any ``format.*`` code.
        UsageError: ``usage.configuration`` for issuers that contradict themselves; ``io.failed``.
    """
    issuers = read_toml(path, _Settings).issuer
    for issuer in issuers:
        _check(issuer)
    for field in ("name", "url"):
        values = [getattr(issuer, field) for issuer in issuers]
        if len(set(values)) < len(values):
            raise _contradiction(f"two issuers of one {field}", f"each {field} once")
    return issuers


def _check(issuer: Issuer) -> None:
    parts = split(issuer.url)
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not secure or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise _contradiction(f"the issuer {issuer.name!r} at {issuer.url!a}", "https://…, without query")
    if issuer.console is not None and OPENID not in issuer.console.scopes:
        raise _contradiction(
            f"a console of {issuer.name!r} with scopes {list(issuer.console.scopes)}", f"{OPENID!r} too"
        )
    for grant in issuer.grant:
        if bool(grant.plugins) != ("publisher" in grant.roles):
            raise _contradiction(
                f"a grant of {issuer.name!r} with roles {list(grant.roles)} and {len(grant.plugins)} plugins",
                "'plugins' with the role publisher, and with it alone",
            )


def _contradiction(found: str, expected: str) -> UsageError:
    return UsageError(
        "usage.configuration", f"{_WHAT} contradicts itself", found=found, expected=expected,
        todo=f"Correct server/{_WHAT}.",
    )  # fmt: skip
