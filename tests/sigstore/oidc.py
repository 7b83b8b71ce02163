"""The OpenID Connect issuer: tokens for people and pipelines, its keys, and GitHub's way of handing tokens to a job."""

from __future__ import annotations

import time
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from tests.sigstore.keys import ServiceKey

AUDIENCE = "sigstore"
LIFE = 600
"""How long a token is valid, in seconds."""


def workflow_claims(**changes: Any) -> dict[str, Any]:
    """What GitHub says of a job that releases version 1.0 of ``acme/sample-plugin``."""
    claims = {
        "sub": "repo:acme/sample-plugin:ref:refs/tags/v1.0",
        "repository": "acme/sample-plugin",
        "repository_id": "4711",
        "repository_owner": "acme",
        "repository_owner_id": "42",
        "ref": "refs/tags/v1.0",
        "sha": "c0ffee" * 6 + "c0ff",
        "event_name": "push",
        "workflow": "release",
        "runner_environment": "github-hosted",
        "job_workflow_ref": "acme/sample-plugin/.github/workflows/release.yml@refs/tags/v1.0",
        "job_workflow_sha": "c0ffee" * 6 + "c0ff",
    }
    return claims | changes


class Issuer:
    """Signs tokens.

    Attributes:
        url: the issuer's name, which tokens carry as ``iss``.
        ambient: the claims that the endpoint for jobs puts into a token.
        bearer: the secret that a job has to show at that endpoint.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = ServiceKey()
        self.ambient = workflow_claims()
        self.bearer = "job-secret"
        self.known = [url]

    def token(self, claims: dict[str, Any], *, issued: float | None = None, audience: str = AUDIENCE) -> str:
        """A token with these claims, issued now or at ``issued`` (seconds since the epoch)."""
        now = int(time.time() if issued is None else issued)
        stated = {"iss": self.url, "aud": audience, "iat": now, "nbf": now, "exp": now + LIFE, **claims}
        return jwt.encode(stated, self._pem(), algorithm="ES256")

    def check(self, token: str) -> dict[str, Any]:
        """The claims of a token of this issuer; raises what PyJWT raises."""
        claims: dict[str, Any] = jwt.decode(
            token, self.key.private.public_key(), algorithms=["ES256"], audience=AUDIENCE, issuer=self.known
        )
        return claims

    def another(self, url: str) -> Issuer:
        """An issuer of another name that the same Sigstore takes tokens of, since it signs with the same key."""
        other = Issuer(url)
        other.key = self.key
        self.known.append(url)
        return other

    def token_for_job(self, authorization: str) -> dict[str, str]:
        """What GitHub's endpoint answers to a job's request."""
        if authorization.lower() != f"bearer {self.bearer}":
            raise PermissionError("not this job's secret")
        return {"value": self.token(self.ambient)}

    def _pem(self) -> bytes:
        return self.key.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
