"""A private Sigstore on the loopback interface: what keyless signing and verification are tested against.

    with PrivateSigstore() as sigstore:
        token = sigstore.issuer.token(workflow_claims())
        config = sigstore.trust_config(log=2, timestamps=True)     # for whoever signs
        root = sigstore.trusted_root()                             # for whoever verifies

Everything does its real work, with keys made for the occasion: an OpenID Connect issuer, a certificate authority
(Fulcio) that checks tokens and logs certificates, both generations of the signature log (Rekor v1 and v2) over a Merkle
tree, and a timestamp authority (RFC 3161). Only storage is missing: it lives as long as its block.
"""

from __future__ import annotations

from tests.sigstore.oidc import workflow_claims
from tests.sigstore.people import KeylessPerson
from tests.sigstore.server import COMBINATIONS, PrivateSigstore

__all__ = ["COMBINATIONS", "KeylessPerson", "PrivateSigstore", "workflow_claims"]
