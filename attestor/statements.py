"""Values → statements' bytes → signed bundles, through the gate that lets nothing private out."""

from __future__ import annotations

from dataclasses import dataclass

from attestor.leaks import LeakGate
from attestor.signers import Signer
from verifier.evidence import TITLES
from verifier.formats.bundle import Bundle
from verifier.formats.manifest import SignedManifest, dump_manifest
from verifier.formats.statement import MAX_STATEMENT, Statement, dump_statement
from verifier.formats.strict_json import loads
from verifier.formats.text import Hex
from verifier.wheel import Snapshot

#: Where an owner declares paths on purpose.
DECLARED_PATHS = ("$.predicate.allowed_paths",)


@dataclass(frozen=True)
class Draft:
    """A statement that passed the gate and is not signed yet.

    Args:
        kind: its predicate type.
        payload: the exact bytes that will be signed.
    """

    kind: str
    payload: bytes

    def sign(self, signer: Signer) -> Bundle:
        """The statement, signed."""
        return signer.sign(self.payload)


def gate_of(manifest: SignedManifest) -> LeakGate:
    """The gate for statements about a plugin: what its manifest says on purpose is public."""
    return LeakGate(f"{dump_manifest(manifest.declared).decode()} {manifest.source.repository}")


def draft(wheel: Snapshot, kind: str, predicate: bytes, gate: LeakGate) -> Draft:
    """A statement about ``wheel``, ready to be signed.

    Args:
        wheel: its one subject.
        kind: the predicate type.
        predicate: the predicate's exact bytes.
        gate: refuses what must not be told.

    Raises:
        Refused: ``leak.found``.
        FormatError: the predicate is not JSON of an acceptable size.
    """
    digest = Hex(wheel.digest.removeprefix("sha256:"))
    payload = dump_statement(
        Statement(subject_name=wheel.file_name, sha256=digest, predicate_type=kind, predicate=predicate)
    )
    title = TITLES[kind]
    gate.check(loads(payload, limit=MAX_STATEMENT, what=title), what=f"the {title}", declared=DECLARED_PATHS)
    return Draft(kind, payload)
