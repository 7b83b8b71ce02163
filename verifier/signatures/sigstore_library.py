"""The parts of sigstore-python that are used, imported when they are asked for: that takes longer than all the rest.

What it would derive anew for each bundle, and again within one, is derived once: the keys of a trusted root, and what a
bundle's certificate and timestamps say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from verifier.errors import LoadlockError, Refused
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
            """A bundle whose certificate and timestamps were read before."""

            def __init__(self, inner: Any, certificate: bytes, stamps: Sequence[TimeStampResponse]) -> None:
                if inner.verification_material.certificate.raw_bytes != certificate:
                    raise ValueError("the certificate of a bundle is not the one that was read")
                self._read = load_certificate(certificate)
                found = SimpleNamespace(rfc3161_timestamps=list(stamps)) if stamps else None
                self._material = SimpleNamespace(timestamp_verification_data=found)  # nothing else is asked of it
                super().__init__(inner)

            @property
            def signing_certificate(self) -> Certificate:
                return self._read

            @property
            def verification_material(self) -> Any:
                return self._material

        self._bundle, self._config, self._verifier = ReadBundle, ClientTrustConfig, Verifier

    def bundle(self, data: bytes, certificate: bytes, stamps: Sequence[TimeStampResponse]) -> Bundle:
        """A bundle out of its JSON.

        Args:
            data: its bytes.
            certificate: the one that it holds, in DER; it is read once, by whoever comes first.
            stamps: its timestamps, read from the same bytes.

        Raises:
            Exception: of several kinds.
        """
        make: Any = partial(self._bundle, certificate=certificate, stamps=stamps)
        bundle: Bundle = self._bundle.from_json.__func__(make, data)  # type: ignore[attr-defined]
        return bundle

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
