"""People and pipelines that sign keyless, with sigstore-python as it comes: our own writer has no part in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from verifier.formats.bundle import Bundle, parse_bundle

if TYPE_CHECKING:
    from sigstore.sign import Signer


class KeylessPerson:
    """Somebody with an identity.

    Args:
        name: what the tests call them.
        config: the client trust configuration to sign under.
        token: who they are.
    """

    def __init__(self, name: str, config: dict[str, Any], token: str) -> None:
        self.name = name
        self._config = config
        self._token = token
        self._signer: Signer | None = None

    def attest(self, payload: bytes) -> Bundle:
        """A bundle around the statement with these bytes; one certificate serves for all."""
        from sigstore.dsse import Statement

        self._signer = self._signer or self._certified()
        return parse_bundle(self._signer.sign_dsse(Statement(payload)).to_json().encode())

    def _certified(self) -> Signer:
        # The library is imported by those alone who sign: it takes longer than everything else.
        from sigstore.models import ClientTrustConfig
        from sigstore.oidc import IdentityToken
        from sigstore.sign import SigningContext

        config = ClientTrustConfig.from_json(json.dumps(self._config))
        with SigningContext.from_trust_config(config).signer(IdentityToken(self._token)) as signer:
            return signer
