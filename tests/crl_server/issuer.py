"""A real issuer of tokens on loopback: discovery and key set over HTTP, tokens by its keys."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from crl_server.access.issuers import Grant, Issuer
from loadlock.testing.loopback import Loopback
from tests.crl_server.deployments import NOW
from verifier.formats.text import Name

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
AUDIENCE = "loadlock"
Claims = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk(kid: str, **more: str) -> dict[str, str]:
    public = RSA.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": number(public.n), "e": number(public.e), "use": "sig"} | more


def keys() -> list[dict[str, str]]:
    point = EC.public_key().public_numbers()
    raw = ED.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    coordinates = {"x": b64(point.x.to_bytes(32, "big")), "y": b64(point.y.to_bytes(32, "big"))}
    return [
        rsa_jwk("rsa", alg="RS256"),
        rsa_jwk("pss", alg="PS256"),
        {"kty": "EC", "kid": "ec", "crv": "P-256", **coordinates},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": b64(raw)},
        rsa_jwk("enc", use="enc"),
        rsa_jwk("weak", alg="RS512"),
        {"kty": "oct", "kid": "shared", "k": b64(b"a shared secret that everybody can read in the set")},
    ]


class Sso:
    """An issuer that a server of files stands for."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.url = server.url + "/realm"
        self.keys = keys()
        self.publish()

    def publish(self, **document: Any) -> None:
        told = {"issuer": self.url, "jwks_uri": self.server.url + "/keys"} | document
        self.server.files["realm/.well-known/openid-configuration"] = json.dumps(told).encode()
        self.server.files["keys"] = json.dumps({"keys": self.keys}).encode()

    def claims(self, **changes: Any) -> Claims:
        at = int(NOW.timestamp())
        claims = {
            "iss": self.url, "sub": "ann", "aud": AUDIENCE, "iat": at - 10, "exp": at + 600, "groups": ["staff", "sec"],
        } | changes  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, kid: str = "rsa", alg: str = "RS256", key: Any = RSA, headers: Claims | None = None, **changes: Any
    ) -> str:
        return jwt.encode(self.claims(**changes), key, alg, {"kid": kid} | (headers or {}))

    def issuer(self, **changes: Any) -> Issuer:
        grant = Grant(roles=("revoker",), claims={"groups": "sec"})
        fields: dict[str, Any] = {"name": Name("sso"), "url": self.url, "audience": AUDIENCE, "grant": (grant,)}
        return Issuer(**(fields | changes))
