"""The verification material of a keyless bundle: certificate, log entry, timestamps (Sigstore bundle v0.3).

Everything is held to one spelling, and nothing in it is believed: it is what the pinned trusted root is asked about.
Field names are Sigstore's.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Final, Literal

from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.dsse import decode_base64
from verifier.formats.strict_json import Document

MAX_CERTIFICATE = 16_384
"""How many characters of base64 a certificate may have."""
MAX_BODY = 256 * 1024
"""How many characters of base64 the body of a log entry may have."""
MAX_CHECKPOINT = 16_384
"""How many characters a log's checkpoint may have."""
MAX_TIMESTAMPS = 8
"""How many timestamps a bundle may carry."""
MAX_TIMESTAMP = 32_768
"""How many characters of base64 a timestamp may have."""
MAX_PATH = 64
"""How many hashes may lie between a leaf and its tree's root: a log has fewer than 2^64 entries."""

_SHA256: Final = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
"""A sha256 digest as base64 in its one spelling, as nearly every short text is: the last two bits stand for nothing."""

Number = Annotated[str, Meta(max_length=19, pattern=r"\A(0|[1-9][0-9]*)\Z")]
"""An integer as the JSON form of protocol buffers writes 64 bits."""
Small = Annotated[str, Meta(min_length=1, max_length=4096)]
Hash = Annotated[str, Meta(max_length=100)]


class Certificate(Document, frozen=True, kw_only=True):
    """An X.509 certificate in DER, as base64."""

    rawBytes: Annotated[str, Meta(min_length=1, max_length=MAX_CERTIFICATE)]  # noqa: N815


class LogId(Document, frozen=True, kw_only=True):
    """Which log: the sha256 of its public key, as base64."""

    keyId: Hash  # noqa: N815


class KindVersion(Document, frozen=True, kw_only=True):
    """The kind of a log entry: those of statements in both generations of the log."""

    kind: Literal["dsse", "hashedrekord"]
    version: Literal["0.0.1", "0.0.2"]


class Promise(Document, frozen=True, kw_only=True):
    """The log's promise to include the entry, over its time: the log's first generation alone gives it."""

    signedEntryTimestamp: Small  # noqa: N815


class Checkpoint(Document, frozen=True, kw_only=True):
    """A signed note of the tree's size and root."""

    envelope: Annotated[str, Meta(min_length=1, max_length=MAX_CHECKPOINT)]


class Proof(Document, frozen=True, kw_only=True):
    """The path from the entry to the root of the log's Merkle tree (RFC 6962, section 2.1.1)."""

    rootHash: Hash  # noqa: N815
    treeSize: Number  # noqa: N815
    checkpoint: Checkpoint
    logIndex: Number  # noqa: N815
    hashes: Annotated[tuple[Hash, ...], Meta(max_length=MAX_PATH)]


class LogEntry(Document, frozen=True, kw_only=True):
    """What the log holds, and how it shows that it does."""

    logId: LogId  # noqa: N815
    kindVersion: KindVersion  # noqa: N815
    inclusionProof: Proof  # noqa: N815
    canonicalizedBody: Annotated[str, Meta(min_length=1, max_length=MAX_BODY)]  # noqa: N815
    logIndex: Number  # noqa: N815
    integratedTime: Number | None = None  # noqa: N815
    inclusionPromise: Promise | None = None  # noqa: N815


class Timestamp(Document, frozen=True, kw_only=True):
    """A response of a timestamp authority (RFC 3161), as base64."""

    signedTimestamp: Annotated[str, Meta(min_length=1, max_length=MAX_TIMESTAMP)]  # noqa: N815


class Timestamps(Document, frozen=True, kw_only=True):
    """The timestamps of a bundle."""

    rfc3161Timestamps: Annotated[tuple[Timestamp, ...], Meta(max_length=MAX_TIMESTAMPS)] = ()  # noqa: N815


class Material(Document, frozen=True, kw_only=True, dict=True):
    """All of it: one certificate, one log entry, any number of timestamps."""

    certificate: Certificate
    tlogEntries: Annotated[tuple[LogEntry, ...], Meta(min_length=1, max_length=1)]  # noqa: N815
    timestampVerificationData: Timestamps = Timestamps()  # noqa: N815

    @property
    def entry(self) -> LogEntry:
        """The one log entry."""
        return self.tlogEntries[0]

    @property
    def has_timestamps(self) -> bool:
        """Whether any timestamp authority is said to have signed."""
        return bool(self.timestampVerificationData.rfc3161Timestamps)

    @cached_property
    def timestamps(self) -> tuple[bytes, ...]:
        """The timestamp authorities' responses in DER."""
        entries = self.timestampVerificationData.rfc3161Timestamps
        return tuple(decode_base64(entry.signedTimestamp, "timestamp") for entry in entries)

    @cached_property
    def certificate_der(self) -> bytes:
        """The signing certificate in DER."""
        return decode_base64(self.certificate.rawBytes, "certificate")


def check_base64(material: Material, what: str) -> None:
    """Demand that all base64 is in its one spelling.

    Raises:
        FormatError: ``format.base64``.
    """
    entry = material.entry
    promise = entry.inclusionPromise
    for text in (
        entry.logId.keyId, entry.canonicalizedBody, entry.inclusionProof.rootHash, *entry.inclusionProof.hashes,
        *(() if promise is None else (promise.signedEntryTimestamp,)),
    ):  # fmt: skip
        if not _SHA256.fullmatch(text):
            decode_base64(text, what)
    try:
        _ = material.certificate_der, material.timestamps
    except FormatError as error:
        raise FormatError(error.code, f"{what} holds malformed base64", found=error.found) from None
