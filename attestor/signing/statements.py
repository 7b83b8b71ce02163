"""Values → statements' bytes → signed bundles, through the gate that lets nothing private out."""

from __future__ import annotations

from dataclasses import dataclass

from attestor.checking.leaks import LeakGate
from attestor.signing.signers import Signer
from verifier.formats.bundle import Bundle
from verifier.formats.manifest import SignedManifest, dump_manifest
from verifier.formats.statement import MANIFEST, MAX_STATEMENT, Statement, dump_statement
from verifier.formats.strict_json import loads
from verifier.formats.text import Hex
from verifier.judging.evidence import TITLES
from verifier.wheels.wheel import Snapshot


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
    """The gate for statements about a plugin: what its manifest says on purpose is public, and names of packages."""
    packages = " ".join(dependency.name for dependency in manifest.dependencies)
    return LeakGate(f"{dump_manifest(manifest.declared).decode()} {manifest.source.repository} {packages}")


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
    value = loads(payload, limit=MAX_STATEMENT, what=title)
    declared = value["predicate"].get("allowed_paths", ()) if kind == MANIFEST else ()
    gate.check(value, what=f"the {title}", declared=declared)
    return Draft(kind, payload)
