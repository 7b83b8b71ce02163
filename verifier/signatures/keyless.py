"""Keyless signatures, verified offline through sigstore-python against a pinned trusted root.

The library is imported when the first such signature is met: it takes longer to import than all the rest. Around it
stands what it leaves to its caller (decision record 0015): all its exceptions are refusals, and so is a log or an
authority whose time was over when the signature was made, a missing timestamp where one is demanded, and a payload that
is no in-toto statement.

    (1) the material: when the signature claims to have been made
    (2) the trusted root, less whatever was not in force at that time
    (3) the log that the material names is in it
    (4) the library: certificate, its log, identity, log entry, timestamps, signature
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from verifier.errors import LoadlockError, Refused
from verifier.formats import dsse
from verifier.formats.bundle import Bundle
from verifier.formats.identity import Stated
from verifier.formats.material import Material
from verifier.signatures.identities import differences
from verifier.signatures.signatory import Made, Opened
from verifier.signatures.sigstore_library import library, read_timestamp, words
from verifier.signatures.sigstore_root import trusted_root

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse


def verify(bundle: Bundle, identity: Stated, root: bytes, *, timestamp: bool) -> Opened:
    """Verify a keyless bundle; the numbers are those of the module's docstring.

    Args:
        bundle: a bundle with a certificate.
        identity: who has to have signed it.
        root: the trusted root, as JSON.
        timestamp: whether a timestamp authority has to vouch for the time; then the log's own word is not asked.

    Raises:
        Refused: ``signature.*``; ``usage.extra``; ``trust.metadata`` for a trusted root that is none.
    """
    material = bundle.material
    if material is None:
        raise Refused("signature.invalid", "a signature with a key is none by an identity", expected=identity.id)
    trusted = trusted_root(root)
    if timestamp:
        material = _without_promise(material)
    stamps = _read_stamps(material)
    times = _claimed_times(material, stamps)  # (1)
    if not times:
        raise Refused(
            "signature.time", "nobody whom the policy asks vouches for when a statement was signed",
            found="no timestamp" if timestamp else "neither a timestamp nor a log's time",
            expected="a timestamp authority's signature" if timestamp else "one of both",
        )  # fmt: skip
    verifier = trusted.verifier_for(material, min(times), max(times))  # (2), (3)
    try:
        read = library().bundle(bundle.envelope, material, stamps)
        demanded = _Demanded(identity, read.signing_certificate, material.certificate_der)
        kind, payload = verifier.verify_dsse(read, demanded)  # (4)
    except LoadlockError:
        raise
    except Exception as error:  # it raises a dozen kinds on hostile bundles, its own and others'
        trusted.check_authority(material, min(times), max(times))
        raise Refused(
            "signature.invalid", "a keyless signature does not verify", found=words(error), expected=identity.id
        ) from error
    if kind != dsse.IN_TOTO or payload != bundle.envelope.unverified_payload:
        raise Refused("signature.invalid", "what was verified is not what was read", expected=identity.id)
    return Opened(payload, Made(at=max(times)))


def _read_stamps(material: Material) -> tuple[TimeStampResponse, ...]:
    """The timestamps, read; nothing of them has been verified."""
    try:
        return tuple(read_timestamp(stamp) for stamp in material.timestamps)
    except LoadlockError:
        raise
    except Exception as error:
        raise _no_time(error) from error


def _claimed_times(material: Material, stamps: Iterable[TimeStampResponse]) -> tuple[datetime, ...]:
    """Every moment at which the material claims that the signature existed; none of them has been verified."""
    entry, times = material.entry, []
    try:
        if entry.inclusionPromise is not None and entry.integratedTime is not None:
            times.append(datetime.fromtimestamp(int(entry.integratedTime), UTC))
        times += [stamp.tst_info.gen_time for stamp in stamps]
    except Exception as error:
        raise _no_time(error) from error
    return tuple(times)


def _no_time(error: Exception) -> Refused:
    return Refused("signature.time", "a statement's time cannot be read", found=words(error))


def public_trusted_root() -> bytes:
    """The trusted root of the public Sigstore, as the library brings or last fetched it; no connection is made.

    Raises:
        Refused: ``usage.extra``.
    """
    return library().public_root()


class _Demanded:
    """The identity, asked for by the library once the certificate is verified.

    Args:
        identity: who has to have signed.
        read: the certificate that the library is to verify.
        certificate: the same in DER.
    """

    def __init__(self, identity: Stated, read: Certificate, certificate: bytes) -> None:
        self._identity = identity
        self._read = read
        self._certificate = certificate

    def verify(self, cert: Certificate) -> None:
        """Return when the certificate is for the identity; raises Refused with ``signature.identity``."""
        if cert is not self._read:
            raise ValueError("the certificate that was verified is not the one that was read")
        if found := differences(self._identity, self._certificate):
            raise Refused(
                "signature.identity", "a certificate is for somebody else", found="; ".join(found),
                expected=self._identity.id,
            )  # fmt: skip


def _without_promise(material: Material) -> Material:
    """The material without the log's own word on the time: what is left has to be vouched for by timestamps."""
    entry = msgspec.structs.replace(material.entry, inclusionPromise=None, integratedTime=None)
    return msgspec.structs.replace(material, tlogEntries=(entry,))
