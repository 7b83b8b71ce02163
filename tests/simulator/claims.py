"""Attestation sets that can be wrong in any one place: statements as plain values, signed when they are asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from loadlock.testing.people import Person
from tests.sigstore.people import KeylessPerson
from verifier.formats import dsse
from verifier.formats.bundle import Bundle, dump_bundle
from verifier.formats.statement import CERTIFICATION, MANIFEST, SBOM, STATEMENT_TYPE
from verifier.formats.strict_json import dumps
from verifier.judging.evidence import ROLE_OF


@dataclass
class Claim:
    """One statement before it is signed; every attribute may be changed.

    Attributes:
        predicate_type: of the statement.
        predicate: plain JSON values, or bytes to be taken as they are.
        signer: who signs it.
        subjects: in-toto subjects, as JSON values.
        statement_type: the statement's ``_type``.
        payload_type: the envelope's.
        hint: the bundle's; that of ``signer`` if None.
        signature: the envelope's; made by ``signer`` if None.
    """

    predicate_type: str
    predicate: Any
    signer: Person | KeylessPerson
    subjects: list[Any]
    statement_type: str = STATEMENT_TYPE
    payload_type: str = dsse.IN_TOTO
    hint: str | None = None
    signature: bytes | None = None

    @property
    def predicate_bytes(self) -> bytes:
        """The predicate as it stands in the payload."""
        return self.predicate if isinstance(self.predicate, bytes) else dumps(self.predicate)

    @property
    def payload(self) -> bytes:
        """What is signed."""
        return dumps(
            {
                "_type": self.statement_type,
                "subject": self.subjects,
                "predicateType": self.predicate_type,
                "predicate": msgspec.Raw(self.predicate_bytes),
            }
        )

    @property
    def digest(self) -> str:
        """How other statements pin this one."""
        return f"sha256:{hashlib.sha256(self.payload).hexdigest()}"

    def sign(self) -> bytes:
        """The statement as a line of an attestation set."""
        if isinstance(self.signer, KeylessPerson):
            return dump_bundle(self.signer.attest(self.payload)) + b"\n"
        message = dsse.pae(self.payload_type, self.payload)
        signature = dsse.Signature(
            keyid="", sig=self.signer.sign(message) if self.signature is None else self.signature
        )
        envelope = dsse.Envelope(
            payload_type=self.payload_type, unverified_payload=self.payload, signatures=(signature,)
        )
        hint = self.signer.public.hint if self.hint is None else self.hint
        return dump_bundle(Bundle(hint=hint, envelope=envelope)) + b"\n"


class Claims(dict[str, Claim]):
    """The statements of one set by title, in order: ``manifest``, ``sbom``, ``provenance``, ``certification``, and
    ``audit`` and ``checks`` where they were added.
    """

    def pin(self) -> None:
        """Let the manifest pin the SBOM and the certification name all other statements, as they now are."""
        sboms = [claim for claim in self.values() if claim.predicate_type == SBOM]
        for claim in self.values():
            if claim.predicate_type == MANIFEST and sboms:
                claim.predicate["sbom_digest"] = f"sha256:{hashlib.sha256(sboms[0].predicate_bytes).hexdigest()}"
        named = [claim for claim in self.values() if claim.predicate_type in ROLE_OF.keys() - {CERTIFICATION}]
        for claim in self.values():
            if claim.predicate_type == CERTIFICATION:
                claim.predicate["inputAttestations"] = [
                    {"uri": other.predicate_type, "digest": {"sha256": other.digest.removeprefix("sha256:")}}
                    for other in named
                ]

    def sign(self) -> bytes:
        """The attestation set."""
        return b"".join(claim.sign() for claim in self.values())
