"""Signing in through an issuer: OpenID Connect's authorization code flow with PKCE (docs/spec/issuers.md).

    begin     a secret goes into the browser's cookie; state, nonce and code verifier follow from it
    issuer    the person signs in there, and comes back with a code and the state
    finish    the state is the cookie's; the code is redeemed with the verifier; the ID token repeats the nonce

Nothing of an attempt is kept here: without the cookie, its code is worth nothing.
Sources: OpenID Connect Core 1.0; RFC 6749, RFC 7636 (PKCE), RFC 9207 (who answers), RFC 9700 (best current practice).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError

from crl_server.access.issuers import ConsoleClient, Issuer
from crl_server.access.oidc import Issuers, discover, endpoint, unreachable
from crl_server.access.roles import Identity
from verifier.errors import Refused, UsageError
from verifier.files import read_capped
from verifier.formats.strict_json import loads

MAX_SECRET_FILE = 4096
"""Size cap of a client's secret in bytes."""
MAX_ANSWER = 256 * 1024
"""Size cap of an issuer's answer to a code in bytes."""
MAX_CODE = 4096
"""How many characters a code may have."""
TIMEOUT = urllib3.Timeout(connect=5.0, read=15.0)


@dataclass(frozen=True)
class Attempt:
    """One attempt to sign in, all of which follows from the secret in the browser's cookie and from the issuer.

    Attributes:
        secret: what the cookie holds.
        issuer: where it is tried.
    """

    secret: str
    issuer: str

    @classmethod
    def new(cls, issuer: str) -> Attempt:
        """A new one."""
        return cls(secrets.token_urlsafe(32), issuer)

    @property
    def state(self) -> str:
        """What the issuer sends back with the browser (RFC 6749 section 10.12)."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """What the ID token repeats."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """What proves, when the code is redeemed, that this attempt has asked for it (RFC 7636 section 4.1)."""
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """What the issuer holds the verifier against."""
        return _base64(hashlib.sha256(self.verifier.encode()).digest())

    def _derived(self, purpose: str) -> str:
        return _base64(hmac.new(self.secret.encode(), f"{purpose}:{self.issuer}".encode(), hashlib.sha256).digest())


class Login:
    """Signs people in through one issuer.

    Args:
        issuer: the issuer.
        issuers: judges its tokens.
        redirect: the console's address that the issuer sends people back to, whole and fixed.
        directory: where the client's secret lies.
    """

    def __init__(self, issuer: Issuer, issuers: Issuers, redirect: str, directory: Path) -> None:
        if issuer.console is None:
            raise Refused("auth.login", "nobody signs in at the console through this issuer", found=repr(issuer.name))
        self._issuer = issuer
        self._client: ConsoleClient = issuer.console
        self._issuers = issuers
        self._redirect = redirect
        self._directory = directory

    def way(self, attempt: Attempt) -> str:
        """Where the browser goes to sign in.

        Raises:
            Unreachable: ``unreachable.issuer``, ``unreachable.server``.
        """
        where = endpoint(self._issuer, discover(self._issuer), "authorization_endpoint")
        query = {
            "response_type": "code",
            "client_id": self._client.client,
            "redirect_uri": self._redirect,
            "scope": " ".join(self._client.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return f"{where}{'&' if '?' in where else '?'}{urlencode(query, quote_via=quote)}"

    def finish(self, attempt: Attempt, answer: Mapping[str, str], now: datetime) -> Identity:
        """Who has signed in.

        Args:
            attempt: the one that the browser's cookie holds.
            answer: what the issuer has sent with the browser.
            now: the moment (aware, UTC).

        Raises:
            Refused: ``auth.login``, ``auth.token``.
            Unreachable: ``unreachable.issuer``, ``unreachable.server``.
            UsageError: ``usage.configuration`` when the client's secret cannot be read.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise Refused("auth.login", "the answer belongs to another attempt to sign in")
        document = discover(self._issuer)
        promised = document.get("authorization_response_iss_parameter_supported") is True
        if answer.get("iss", "" if promised else self._issuer.url) != self._issuer.url:
            raise Refused(
                "auth.login", "somebody else than the issuer has answered", found=f"{answer.get('iss')!a:.100}"
            )
        code = answer.get("code", "")
        if not 0 < len(code) <= MAX_CODE:
            raise Refused(
                "auth.login", "the issuer did not sign anybody in", found=f"{answer.get('error', 'no code')!a:.100}"
            )
        token = self._redeem(endpoint(self._issuer, document, "token_endpoint"), code, attempt)
        return self._issuers.identify_login(token, self._issuer, self._client.client, attempt.nonce, now)

    def _redeem(self, where: str, code: str, attempt: Attempt) -> str:
        """The ID token for a code (OpenID Connect Core 1.0, 3.1.3)."""
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect,
            "client_id": self._client.client, "code_verifier": attempt.verifier,
        }  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"} | self._basic()
        try:
            with urllib3.PoolManager(timeout=TIMEOUT, retries=False) as pool:
                response = pool.request(
                    "POST", where, body=urlencode(form), headers=headers, redirect=False, preload_content=False
                )
                body = response.read(MAX_ANSWER + 1, decode_content=False)
                response.release_conn()
        except (HTTPError, OSError) as error:
            raise unreachable(self._issuer, f"{type(error).__name__} at its token endpoint") from error
        if response.status != 200:
            raise Refused("auth.login", "the issuer does not take the code", found=f"status {response.status}")
        document = loads(body, limit=MAX_ANSWER, what="the issuer's answer")
        token = document.get("id_token") if isinstance(document, dict) else None
        if not isinstance(token, str):
            raise Refused("auth.login", "the issuer's answer has no ID token")
        return token

    def _basic(self) -> dict[str, str]:
        """The client's credentials (RFC 6749 section 2.3.1); none for a public client."""
        if self._client.secret is None:
            return {}
        path = self._directory / self._client.secret
        if path.is_file() and path.stat().st_mode & 0o077:
            raise UsageError(
                "usage.configuration", "a client's secret can be read by others", found=path.name, expected="mode 0600"
            )
        secret = read_capped(path, MAX_SECRET_FILE, "client secret").decode("utf-8", "replace").strip()
        pair = f"{quote(self._client.client, safe='')}:{quote(secret, safe='')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
