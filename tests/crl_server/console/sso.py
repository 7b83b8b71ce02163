"""A real OpenID Connect issuer on loopback: discovery, keys, a page to sign in at, codes with PKCE, ID tokens.

It is strict where an issuer has to be (client, exact redirect URI, one use of a code, the verifier), and lies where a
test tells it to.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import secrets
import threading
from collections.abc import Callable
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

CLIENT = "loadlock-console"
CLIENT_SECRET = "a secret: with / signs"
PEOPLE = {"ann": ["security"], "bob": ["security", "approvers"], "eve": ["guests"]}
"""Who has an account, and their groups."""


class Sso:
    """An issuer while inside its block.

    Attributes:
        now: what its clock tells.
        secret: the client's secret; empty for a public client.
        redirects: the redirect URIs that the client is registered with.
        lie: changes the claims of the next ID tokens.
        answer: changes what is sent back with the browser.
        refused: why requests were refused, in order.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.secret = ""
        self.redirects: set[str] = set()
        self.lie: dict[str, Any] = {}
        self.answer: dict[str, str] = {}
        self.document: dict[str, Any] = {}
        self.refused: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/realm"

    def __enter__(self) -> Sso:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def settings(self) -> str:
        """What an operator writes into ``issuers.toml``."""
        secret = '\nsecret = "sso.secret"' if self.secret else ""
        return (
            f'[[issuer]]\nname = "sso"\nurl = "{self.url}"\naudience = "loadlock"\n'
            f'[issuer.console]\nclient = "{CLIENT}"{secret}\nscopes = ["openid", "groups"]\n'
            '[[issuer.grant]]\nroles = ["revoker", "auditor"]\nclaims = { groups = "security" }\n'
            '[[issuer.grant]]\nroles = ["approver"]\nclaims = { groups = "approvers" }\n'
        )

    def discovery(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize?theme=plain",
            "token_endpoint": f"{self.url}/token",
            "authorization_response_iss_parameter_supported": True,
        } | self.document

    def keys(self) -> dict[str, Any]:
        """The key set."""
        point = self._key.public_key().public_numbers()
        x, y = (_base64(number.to_bytes(32, "big")) for number in (point.x, point.y))
        return {"keys": [{"kty": "EC", "crv": "P-256", "kid": "one", "use": "sig", "x": x, "y": y}]}

    def sign_in(self, query: dict[str, str], person: str) -> str:
        """Where the browser goes once somebody has signed in.

        Raises:
            PermissionError: the request is not one that this client may make.
        """
        wrong = [
            query.get("client_id") != CLIENT and "client",
            query.get("redirect_uri") not in self.redirects and "redirect URI",
            query.get("response_type") != "code" and "response type",
            query.get("code_challenge_method") != "S256" and "PKCE",
            "openid" not in query.get("scope", "").split() and "scope",
            person not in PEOPLE and "person",
        ]
        if any(wrong):
            raise PermissionError(str([word for word in wrong if word]))
        code = secrets.token_urlsafe(24)
        self.codes[code] = query | {"person": person}
        answer = {"code": code, "state": query["state"], "iss": self.url} | self.answer
        return f"{query['redirect_uri']}?{urlencode({name: value for name, value in answer.items() if value})}"

    def redeem(self, form: dict[str, str], authorization: str) -> dict[str, Any]:
        """What a code is worth, once.

        Raises:
            PermissionError: it is worth nothing.
        """
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None:
            raise PermissionError("no such code")
        challenge = _base64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if challenge != asked["code_challenge"] or form.get("redirect_uri") != asked["redirect_uri"]:
            raise PermissionError("not who asked for it")
        if self.secret:
            scheme, _, pair = authorization.partition(" ")
            given = [unquote(part) for part in base64.b64decode(pair or "").decode().split(":")]
            if scheme != "Basic" or given != [CLIENT, self.secret]:
                raise PermissionError("not the client")
        return {"access_token": "opaque", "token_type": "Bearer", "id_token": self.token(asked)}

    def token(self, asked: dict[str, str]) -> str:
        """The ID token."""
        at = int(self.clock().timestamp())
        claims = {
            "iss": self.url, "sub": asked["person"], "aud": CLIENT, "iat": at, "exp": at + 300,
            "nonce": asked["nonce"], "groups": PEOPLE[asked["person"]],
        } | self.lie  # fmt: skip
        return jwt.encode({name: value for name, value in claims.items() if value is not None}, self._key, "ES256",
                          {"kid": "one"})  # fmt: skip


def _handler(sso: Sso) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            match parts.path.removeprefix("/realm"):
                case "/.well-known/openid-configuration":
                    self._send(200, "application/json", json.dumps(sso.discovery()))
                case "/keys":
                    self._send(200, "application/json", json.dumps(sso.keys()))
                case "/authorize" if "person" in query:
                    self._attempt(query)
                case "/authorize":
                    links = "".join(
                        f'<p><a href="?{html.escape(parts.query)}&amp;person={quote(name)}">{name}</a></p>'
                        for name in PEOPLE
                    )
                    self._send(
                        200,
                        "text/html",
                        f"<!doctype html><html lang=en><link rel=icon href=data:,><title>Who are you?</title>{links}",
                    )
                case _:
                    self._send(404, "text/plain", "")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            try:
                answer = sso.redeem(form, self.headers.get("Authorization", ""))
            except PermissionError as error:
                sso.refused.append(str(error))
                self._send(400, "application/json", '{"error":"invalid_grant"}')
            else:
                self._send(200, "application/json", json.dumps(answer))

        def _attempt(self, query: dict[str, str]) -> None:
            try:
                self._send(303, "text/plain", "", sso.sign_in(query, query["person"]))
            except PermissionError as error:
                sso.refused.append(str(error))
                self._send(400, "text/plain", str(error))

        def _send(self, status: int, media: str, body: str, location: str = "") -> None:
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(data)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
