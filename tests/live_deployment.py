"""A deployment on the loopback interface, as far as a host sees it: trust, lists, enrolment, and a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from loadlock.testing.documents import Documents, envelope, sha256
from loadlock.testing.loopback import Loopback
from loadlock.testing.repository import TufRepository
from verifier.deployment.home import Home
from verifier.errors import LoadlockError
from verifier.formats import dsse
from verifier.formats.enrolment import Enrolment, Floor, ServerUrl, dump_enrolment, encode_root
from verifier.formats.text import Hex, Name, Time
from verifier.refreshing.refresh import Refresher, enroll


def digest(number: int) -> str:
    """The sha256 of some artifact."""
    return sha256(b"artifact %d" % number)


class LiveDeployment:
    """A deployment that publishes; ``now`` is its clock, moved by :meth:`pass_time`.

    python-tuf's client judges expiry by the machine's clock as well, so this one starts at the machine's time.
    """

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.documents = Documents()
        self.server = Loopback()
        self.repository = TufRepository(self.now, self.documents.policy(self.now), self.documents.checkpoint())
        self.revoked: list[str] = []
        self.head = b""
        self.publish_head()
        self.publish_enrolment()

    def __enter__(self) -> LiveDeployment:
        self.server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.stop()

    def pass_time(self, span: timedelta) -> datetime:
        """Move the clock forward; nothing is signed again."""
        self.now += span
        return self.now

    def publish(self) -> None:
        """Hand out everything that was made so far."""
        self.server.files.update({f"trust/{path}": data for path, data in self.repository.history.items()})
        self.server.files.update({f"lists/{kind}/{name}": data for (kind, name), data in self.documents.files.items()})
        self.server.files["lists/head.json"] = self.head

    def publish_head(self, **fields: Any) -> None:
        """Sign the head again, over all that is revoked; ``fields`` are those of :meth:`Documents.head`."""
        self.head = self.documents.head(self.now, revoked=self.revoked, **fields)
        self.publish()

    def revoke(self, *digests: str) -> None:
        """Revoke artifacts, and sign the head."""
        self.revoked += digests
        self.publish_head()

    def publish_policy(self, version: int, life: timedelta = timedelta(days=30)) -> None:
        """Sign a new policy."""
        self.repository.publish_policy(self.now, self.documents.policy(self.now, version=version, life=life))
        self.publish()

    def publish_epoch(self, epoch: int, through: int, base: Sequence[str], **fields: Any) -> None:
        """Sign a checkpoint and a head of a new epoch; the tail begins after ``through``."""
        checkpoint = self.documents.checkpoint(epoch=epoch, through=through, revoked=base, **fields)
        self.repository.publish_checkpoint(self.now, checkpoint)
        self.head = self.documents.head(self.now, epoch=epoch, first=through + 1, revoked=self.revoked[through:])
        self.publish()

    def publish_enrolment(self, floor: Floor | None = None, signers: Sequence[CryptoSigner] | None = None) -> None:
        """Sign an enrolment bundle over the newest root."""
        version = max(self.repository.roots)
        enrolment = Enrolment(
            v=1,
            deployment=Name(self.documents.deployment),
            server=ServerUrl(self.server.url),
            root=encode_root(self.repository.roots[version]),
            floor=floor or Floor(root=1, targets=1, epoch=1, seq=0),
            issued=Time.of(self.now),
        )
        by = signers or (self.repository.signers["root-1"], self.repository.signers["root-2"])
        self.server.files["enrolment.json"] = signed_by(dump_enrolment(enrolment), by)

    @property
    def fingerprint(self) -> str:
        """What the operator tells whoever enrols."""
        return f"sha256:{sha256(self.repository.roots[max(self.repository.roots)])}"

    def enroll(self, directory: Path) -> Home:
        """Enrol a host."""
        return enroll(self.server.url, self.fingerprint, directory)

    def host(self, directory: Path) -> Refresher:
        """Enrol a host and let it make its first pass."""
        refresher = Refresher(self.enroll(directory))
        refresher.refresh(self.now)
        return refresher


def signed_by(payload: bytes, signers: Sequence[CryptoSigner], payload_type: str = dsse.ENROLMENT) -> bytes:
    """An envelope around ``payload``, signed by TUF keys."""
    message = dsse.pae(payload_type, payload)
    signatures = {s.public_key.keyid: bytes.fromhex(s.sign(message).signature) for s in signers}
    return envelope(payload_type, payload, signatures)


def refused(live: LiveDeployment, host: Refresher, *, trust: bool | None = None) -> LoadlockError:
    """The error of the next pass, having seen that it changed nothing that counts."""
    before = host.home.state()
    with pytest.raises(LoadlockError) as caught:
        host.refresh(live.now, trust=trust)
    assert host.home.state() == before
    assert host.home.in_force(live.now).revocations.lists(Hex(digest(1)))
    assert not list(host.home.directory.glob(".staging-*"))
    return caught.value
