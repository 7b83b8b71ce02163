"""The verification material of a keyless bundle: certificate, log entry, timestamps (Sigstore bundle v0.3).

Everything is held to one spelling, and nothing in it is believed: it is what the pinned trusted root is asked about.
Field names are Sigstore's; bytes are base64 in JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.strict_json import Document, plain

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

Number = Annotated[str, Meta(max_length=19, pattern=r"\A(0|[1-9][0-9]*)\Z")]
"""An integer as the JSON form of protocol buffers writes 64 bits."""
Small = Annotated[bytes, Meta(min_length=1, max_length=4096 // 4 * 3)]
Hash = Annotated[bytes, Meta(max_length=100 // 4 * 3)]


class Certificate(Document, frozen=True, kw_only=True):
    """An X.509 certificate in DER."""

    rawBytes: Annotated[bytes, Meta(min_length=1, max_length=MAX_CERTIFICATE // 4 * 3)]  # noqa: N815


class LogId(Document, frozen=True, kw_only=True):
    """Which log: the sha256 of its public key."""

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
    canonicalizedBody: Annotated[bytes, Meta(min_length=1, max_length=MAX_BODY // 4 * 3)]  # noqa: N815
    logIndex: Number  # noqa: N815
    integratedTime: Number | None = None  # noqa: N815
    inclusionPromise: Promise | None = None  # noqa: N815


class Timestamp(Document, frozen=True, kw_only=True):
    """A response of a timestamp authority (RFC 3161) in DER."""

    signedTimestamp: Annotated[bytes, Meta(min_length=1, max_length=MAX_TIMESTAMP // 4 * 3)]  # noqa: N815


class Timestamps(Document, frozen=True, kw_only=True):
    """The timestamps of a bundle."""

    rfc3161Timestamps: Annotated[tuple[Timestamp, ...], Meta(max_length=MAX_TIMESTAMPS)] = ()  # noqa: N815


class Material(Document, frozen=True, kw_only=True):
    """All of it: one certificate, one log entry, any number of timestamps."""

    certificate: Certificate
    tlogEntries: Annotated[tuple[LogEntry, ...], Meta(min_length=1, max_length=1)]  # noqa: N815
    timestampVerificationData: Timestamps = Timestamps()  # noqa: N815

    @property
    def entry(self) -> LogEntry:
        """The one log entry."""
        return self.tlogEntries[0]

    @property
    def timestamps(self) -> tuple[bytes, ...]:
        """The timestamp authorities' responses in DER."""
        return tuple(entry.signedTimestamp for entry in self.timestampVerificationData.rfc3161Timestamps)

    @property
    def certificate_der(self) -> bytes:
        """The signing certificate in DER."""
        return self.certificate.rawBytes


def check_base64(material: Material, found: Any, what: str) -> None:
    """Demand that all base64 was in its one spelling: written again, it is as it was found.

    Args:
        material: what was read.
        found: the plain JSON values that it was read from.
        what: what holds it, for the error's reader.

    Raises:
        FormatError: ``format.base64``.
    """
    if other := _respelled(plain(material), found):
        raise FormatError("format.base64", f"{what} holds malformed base64", found=repr(other[:40]))


def _respelled(written: Any, found: Any) -> str:
    """The first text that was found in another spelling than it is written in; empty when there is none."""
    written = list(written) if isinstance(written, tuple) else written
    if written == found:
        return ""
    if isinstance(written, str):
        return str(found)
    keys = written if isinstance(written, dict) else range(len(written))
    return next(filter(None, (_respelled(written[key], found[key]) for key in keys)), "")
