"""The directory in which a rotation travels to whoever signs it: what is to be signed, and the trust that it follows.

rotation.json      what it is, of which deployment
root.json, targets.json, checkpoints.json   the documents to be signed; signers add their signatures here
policy.json        the new policy, when the head key is rotated
enrolment.json     the enrolment bundle's payload, and enrolment.signed.json the envelope with its signatures
public/trust/      the trust repository in force
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from crl_server.trust.rotations import Kind, Proposal
from verifier.deployment.tuf_chain import ROOT_LIMIT
from verifier.errors import Refused, Unreachable, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats import dsse
from verifier.formats.enrolment import MAX_ENROLMENT
from verifier.formats.policy import MAX_POLICY
from verifier.formats.strict_json import Document, dumps, loads, parse
from verifier.formats.text import Name

MAX_PLAN = 4096
"""Size cap of ``rotation.json`` in bytes."""
DOCUMENTS = ("root", "targets", "checkpoints")


class Plan(Document, frozen=True, kw_only=True):
    """``rotation.json``."""

    v: Literal[1]
    kind: Kind
    deployment: Name


class RotationDossier:
    """One such directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trust = directory / "public" / "trust"

    # -- writing -------------------------------------------------------------------------------------------------------

    def create(self, plan: Plan, trust: Path, documents: dict[str, bytes]) -> None:
        """Lay it out.

        Args:
            plan: what it is.
            trust: the repository in force, to be copied.
            documents: what is to be signed, and what goes with it, by file name.

        Raises:
            UsageError: ``usage.exists``.
            Unreachable: ``io.failed``.
        """
        if self.directory.exists():
            raise UsageError("usage.exists", "there is something already", found=str(self.directory))
        try:
            shutil.copytree(trust, self.trust)
        except OSError as error:
            raise Unreachable("io.failed", "cannot lay the rotation out", found=error.strerror or "") from error
        for name, data in documents.items():
            write_atomic(self.directory / name, data)
        write_atomic(self.directory / "rotation.json", dumps(plan))

    def write(self, name: str, metadata: Metadata[Any]) -> None:
        """Replace a document by one with a signature more."""
        write_atomic(self.directory / f"{name}.json", metadata.to_bytes())

    # -- reading -------------------------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """What it is."""
        data = read_capped(self.directory / "rotation.json", MAX_PLAN, "rotation")
        return parse(data, Plan, limit=MAX_PLAN, what="rotation.json")

    @property
    def metadata(self) -> dict[str, Metadata[Any]]:
        """The documents that are to be signed, with the signatures so far; all of it is still to be judged.

        Raises:
            Refused: ``rotation.unfounded`` for what is no such document.
        """
        found = {}
        for name in DOCUMENTS:
            path = self.directory / f"{name}.json"
            if path.is_file():
                found[name] = _metadata(name, read_capped(path, ROOT_LIMIT, f"{name}.json"))
        return found

    @property
    def proposal(self) -> Proposal:
        """What the documents say."""
        return Proposal(**{name: metadata.signed for name, metadata in self.metadata.items()})

    @property
    def policy(self) -> bytes:
        """The new policy."""
        return read_capped(self.directory / "policy.json", MAX_POLICY, "policy")

    @property
    def enrolment(self) -> bytes:
        """The payload of the enrolment bundle."""
        return read_capped(self.directory / "enrolment.json", MAX_ENROLMENT, "enrolment bundle")

    @property
    def envelope(self) -> bytes | None:
        """The enrolment bundle with the signatures so far; None before the first."""
        path = self.directory / "enrolment.signed.json"
        return read_capped(path, 2 * MAX_ENROLMENT, "enrolment bundle") if path.is_file() else None

    def add_enrolment_signatures(self, signed: dsse.Envelope) -> int:
        """Add signatures to the enrolment bundle, in the place of earlier ones by the same keys; returns their number.

        Raises:
            Refused: ``rotation.unfounded`` when the earlier ones are of another bundle.
        """
        signatures = {signature.keyid: signature for signature in signed.signatures}
        if self.envelope is not None:
            before = dsse.parse_envelope(self.envelope, what="enrolment bundle")
            if before.unverified_payload != signed.unverified_payload:
                raise Refused("rotation.unfounded", "the signatures so far are of another enrolment bundle")
            signatures = {signature.keyid: signature for signature in before.signatures} | signatures
        whole = dsse.Envelope(
            payload_type=signed.payload_type, unverified_payload=signed.unverified_payload,
            signatures=tuple(signatures.values()),
        )  # fmt: skip
        write_atomic(self.directory / "enrolment.signed.json", dsse.dump_envelope(whole))
        return len(signatures)


def _metadata(name: str, data: bytes) -> Metadata[Any]:
    loads(data, limit=ROOT_LIMIT, what=f"{name}.json")  # strictly: one reading of it only
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except (RepositoryError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise Refused("rotation.unfounded", f"{name}.json is malformed", found=ascii(str(error))[:200]) from error
    if not isinstance(metadata.signed, Root if name == "root" else Targets):
        raise Refused("rotation.unfounded", f"{name}.json is of another kind", found=ascii(metadata.signed.type))
    return metadata
