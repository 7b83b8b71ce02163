"""The audit log as it leaves the server, and its verification elsewhere, without the service.

audit.jsonl        every entry, one a line
public/            the trust repository, and the signed head that vouches for the log

Who keeps an earlier export sees a log that was written anew since: the earlier one has to be its beginning.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from crl_server.layout import Layout
from crl_server.lists.public_tree import MAX_ENVELOPE
from crl_server.records.audit import parse_entry, verify_log
from crl_server.storage.ledger import Ledger
from crl_server.trust.repository import Repository
from verifier.errors import Refused, Unreachable, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats import dsse
from verifier.formats.revocations import AuditHead, sha256_hex
from verifier.formats.text import Digest
from verifier.revocation.revocations import verified_head

MAX_LOG = 4 * 1024 * 1024 * 1024
"""Size cap of an exported log in bytes."""


class Verified(NamedTuple):
    """What was verified: the log's state, and the state that the signed head vouches for."""

    state: AuditHead
    anchor: AuditHead


class AuditExport:
    """One exported log.

    Args:
        directory: where it lies.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._log = directory / "audit.jsonl"
        self._trust = directory / "public" / "trust"
        self._head = directory / "public" / "lists" / "head.json"

    def create(self, layout: Layout, ledger: Ledger) -> None:
        """Write it.

        Raises:
            UsageError: ``usage.exists``; ``io.failed``.
            Unreachable: ``io.failed``.
        """
        if self.directory.exists():
            raise UsageError("usage.exists", "there is something already", found=str(self.directory))
        try:
            shutil.copytree(layout.trust, self._trust)
        except OSError as error:
            raise Unreachable("io.failed", "the audit log cannot be exported", found=error.strerror or "") from error
        write_atomic(self._head, read_capped(layout.head, MAX_ENVELOPE, "revocation head"))
        log = b"".join(line + b"\n" for line in ledger.audit_lines())
        write_atomic(self._log, log, mode=0o600)  # the names of people stand in it

    def verify(self, root: Digest, now: datetime, since: AuditExport | None = None) -> Verified:
        """Demand that the log is whole, that the signed head vouches for it, and that it continues an earlier export.

        Args:
            root: the fingerprint of the deployment's first root.
            now: the moment (aware, UTC).
            since: an earlier export, which is believed as it lies there.

        Raises:
            Refused: ``trust.*``, ``list.*``; ``audit.chain``.
            UsageError: ``io.failed``.
        """
        repository = Repository(self._trust)
        found = f"sha256:{sha256_hex(repository.root(1))}"
        if found != root:
            raise Refused("trust.root", "the export is of another deployment", found=found, expected=root)
        anchor = verified_head(self._read_head(), repository.trust(), now).audit
        lines = self.lines()
        state = verify_log(lines, anchor)
        if since is not None:
            earlier = list(since.lines())
            known = AuditHead(count=len(earlier), sha256=sha256_hex(earlier[-1])) if earlier else anchor
            verify_log(lines, known)
        return Verified(state, anchor)

    def find_head(self, envelope: bytes) -> int:
        """The entry in which a head stands that somebody met.

        Raises:
            Refused: ``audit.head``.
            FormatError: it is no envelope.
        """
        payload = sha256_hex(dsse.parse_envelope(envelope, what="revocation head").unverified_payload)
        for entry in map(parse_entry, self.lines()):
            if entry.action == "list.publish" and entry.detail.get("payload") == payload:
                return entry.index
        raise Refused("audit.head", "this head stands in no entry of the log", found=f"sha256:{payload}")

    def lines(self) -> list[bytes]:
        """The entries' bytes.

        Raises:
            UsageError: ``io.failed``.
        """
        return _lines(read_capped(self._log, MAX_LOG, "audit log"))

    def _read_head(self) -> bytes:
        return read_capped(self._head, MAX_ENVELOPE, "revocation head")


def _lines(data: bytes) -> list[bytes]:
    parts: Iterable[bytes] = data.split(b"\n")
    return [part for part in parts if part]
