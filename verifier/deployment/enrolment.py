"""Judging an enrolment bundle: it is believed because its root has the fingerprint that somebody was told elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.enrolment import Enrolment, parse_enrolment
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Digest
from verifier.signatures.keys import signers

if TYPE_CHECKING:
    from verifier.deployment.tuf_chain import RootKeys


def verify_enrolment(bundle: bytes, root_fingerprint: Digest) -> Enrolment:
    """Verify an enrolment bundle by the fingerprint of the root within, and by that root's own keys.

    Raises:
        Refused: ``signature.payload-type``; ``trust.root`` when the fingerprint differs, the root is not signed by its
            own threshold, the bundle is not signed by that threshold of different root keys, or the floor lies above
            the root.
        FormatError: any ``format.*`` code.
    """
    from verifier.deployment.tuf_chain import root_keys

    envelope = dsse.parse_envelope(bundle, what="enrolment bundle")
    if envelope.payload_type != dsse.ENROLMENT:
        found, expected = repr(envelope.payload_type), repr(dsse.ENROLMENT)
        raise Refused("signature.payload-type", "not an enrolment bundle", found=found, expected=expected)
    # The one place where a payload is read before its signature is verified: its root holds the keys. Nothing but the
    # root is used until the fingerprint has vouched for it and its keys for the rest.
    enrolment = parse_enrolment(envelope.unverified_payload)
    root = enrolment.root_bytes
    fingerprint = Digest(f"sha256:{sha256_hex(root)}")
    if fingerprint != root_fingerprint:
        raise Refused(
            "trust.root",
            "the bundle's root is not the one that was announced",
            found=fingerprint,
            expected=root_fingerprint,
            todo="Compare the fingerprint with the deployment's operator; do not enrol until both agree.",
        )
    keys = root_keys(root)
    _check_threshold(envelope, keys)
    if enrolment.floor.root > keys.version:
        raise Refused(
            "trust.root",
            "the bundle's floor lies above its own root",
            found=f"floor {enrolment.floor.root}",
            expected=f"at most {keys.version}",
        )
    return enrolment


def _check_threshold(envelope: dsse.Envelope, root: RootKeys) -> None:
    found = len(signers(envelope, root.keys))  # keys are counted, not signatures
    if found < root.threshold:
        raise Refused(
            "trust.root",
            "the enrolment bundle is not signed by enough root keys",
            found=f"{found} of them",
            expected=f"{root.threshold}",
        )
