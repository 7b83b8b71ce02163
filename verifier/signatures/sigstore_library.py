"""The parts of sigstore-python that are used, imported when they are asked for: that takes longer than all the rest.

What it would derive anew for each bundle is derived once: the keys of a trusted root. And what was read of a bundle is
not written and read again: it is handed over as it is (decision record 0047).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from types import SimpleNamespace as Fields
from typing import TYPE_CHECKING, Any

from verifier.errors import LoadlockError, Refused
from verifier.formats.bundle import MEDIA_TYPE
from verifier.formats.dsse import Envelope
from verifier.formats.material import Material
from verifier.signatures.identities import load_certificate

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse
    from sigstore.models import Bundle
    from sigstore.verify import Verifier

EXTRA = frozenset({"id", "pydantic", "rekor_types", "requests", "rfc3161_client", "sigstore", "sigstore_models"})
"""What the extra ``keyless`` brings."""
_NEVER_SIGNS = {
    "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
    "signingConfig": {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"},
}


class Library:
    """The parts of sigstore-python that verify."""

    def __init__(self) -> None:
        from sigstore.models import Bundle, ClientTrustConfig
        from sigstore.verify import Verifier

        class ReadBundle(Bundle):
            """A bundle made of what was read before, where the library would read JSON."""

            def __init__(self, fields: Fields, certificate: Certificate, stamps: Sequence[TimeStampResponse]) -> None:
                self._read = certificate
                found = Fields(rfc3161_timestamps=list(stamps)) if stamps else None
                self._material = Fields(timestamp_verification_data=found)  # nothing else is asked of it
                super().__init__(fields)  # type: ignore[arg-type]

            @property
            def signing_certificate(self) -> Certificate:
                return self._read

            @property
            def verification_material(self) -> Any:
                return self._material

        self._bundle, self._config, self._verifier = ReadBundle, ClientTrustConfig, Verifier

    def bundle(self, envelope: Envelope, material: Material, stamps: Sequence[TimeStampResponse]) -> Bundle:
        """A bundle for the library, whose own checks of a whole bundle it has passed.

        Args:
            envelope: what is signed.
            material: what it is signed with.
            stamps: its timestamps, read from the material.

        Raises:
            Exception: of several kinds.
        """
        return self._bundle(fields_of(envelope, material), load_certificate(material.certificate_der), stamps)

    def verifier(self, root: Mapping[str, Any]) -> Verifier:
        """A verifier over a trusted root, as JSON values.

        Raises:
            Exception: of several kinds.
        """
        # A trusted root alone is only read from files; around it goes the configuration of somebody who never signs.
        trusted = self._config.from_json(json.dumps({**_NEVER_SIGNS, "trustedRoot": root})).trusted_root
        for derived in ("rekor_keyring", "ct_keyring", "get_timestamp_authorities"):
            setattr(trusted, derived, cache(getattr(trusted, derived)))
        return self._verifier(trusted_root=trusted)

    def public_root(self) -> bytes:
        """The public Sigstore's trusted root, as the library brings or last fetched it."""
        # The one thing for which there is no public name: the document that the trusted root was read from.
        return self._config.production(offline=True).trusted_root._inner.to_json().encode()


def fields_of(envelope: Envelope, material: Material) -> Fields:
    """A bundle without its timestamps, under the names that the library has for the fields of its messages.

    It holds the very values that were read and judged, so nobody can read them otherwise. What of the library's own
    reading is left out so, the strict reader demands (:mod:`verifier.formats.material`), but for one rule.

    Raises:
        ValueError: an entry's place is not within the log.
    """
    entry, proof, promise = material.entry, material.entry.inclusionProof, material.entry.inclusionPromise
    if int(proof.logIndex) >= int(proof.treeSize):
        raise ValueError(f"entry {proof.logIndex} of a log of {proof.treeSize}")
    logged = Fields(
        log_index=int(entry.logIndex),
        log_id=Fields(key_id=entry.logId.keyId),
        kind_version=entry.kindVersion,
        integrated_time=None if entry.integratedTime is None else int(entry.integratedTime),
        inclusion_promise=None if promise is None else Fields(signed_entry_timestamp=promise.signedEntryTimestamp),
        inclusion_proof=Fields(
            log_index=int(proof.logIndex),
            root_hash=proof.rootHash,
            tree_size=int(proof.treeSize),
            hashes=list(proof.hashes),
            checkpoint=proof.checkpoint,
        ),
        canonicalized_body=entry.canonicalizedBody,
    )
    return Fields(
        media_type=MEDIA_TYPE,
        verification_material=Fields(certificate=Fields(raw_bytes=material.certificate_der), tlog_entries=[logged]),
        dsse_envelope=Fields(
            payload=envelope.unverified_payload, payload_type=envelope.payload_type, signatures=envelope.signatures
        ),
    )


@lru_cache(maxsize=1)
def library() -> Library:
    """What is used of sigstore-python.

    Raises:
        Refused: ``usage.extra``.
    """
    try:
        return Library()
    except ModuleNotFoundError as error:
        raise _missing(error) from error


def read_timestamp(stamp: bytes) -> TimeStampResponse:
    """A timestamp authority's response (RFC 3161), of which nothing is verified.

    Raises:
        Refused: ``usage.extra``.
        ValueError: it cannot be read.
    """
    try:
        from rfc3161_client import decode_timestamp_response
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return decode_timestamp_response(stamp)


def _missing(error: ModuleNotFoundError) -> LoadlockError:
    if (error.name or "").partition(".")[0] not in EXTRA:
        raise error
    return Refused(
        "usage.extra", "a statement is signed keyless, and the part of Loadlock that verifies such is not installed",
        found=f"no {error.name}", expected="loadlock[keyless]",
    )  # fmt: skip


def words(error: Exception) -> str:
    """What an error of anybody's says, on one line, short and in ASCII."""
    said = f"{error.what}: {error.found}" if isinstance(error, LoadlockError) else f"{type(error).__name__}: {error}"
    return ascii(" ".join(said.split())[:300])[1:-1]
