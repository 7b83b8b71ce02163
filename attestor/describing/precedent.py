"""What was certified before: an earlier release's attestation set, verified from its signatures up before it is read.

The wheel it is about need not be at hand. Everything in the set has to be signed by a key that the certifier names,
about one artifact, and covered by a certification; otherwise there is nothing to compare with, and that is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attestor.checking.review import Keys, statements_of
from attestor.commands.places import WheelFiles
from verifier.errors import Refused
from verifier.files import read_capped
from verifier.formats.dsse import MAX_SET
from verifier.formats.manifest import SignedManifest, parse_signed_manifest
from verifier.formats.statement import CERTIFICATION, MANIFEST, SBOM, Certification, parse_certification
from verifier.judging.authority import check_covenant
from verifier.judging.evidence import Attested, Evidence


@dataclass(frozen=True)
class Precedent:
    """An earlier release as it was certified.

    Attributes:
        manifest: what its owner declared.
        certification: what was certified of it.
        statements: predicate type to statement.
    """

    manifest: SignedManifest
    certification: Certification
    statements: Mapping[str, Attested]


def open_precedent(data: bytes, keys: Keys, artifact: str | None = None) -> Precedent:
    """Verify an earlier release's set, and read it.

    Args:
        data: the set.
        keys: role to the keys that may have signed in it.
        artifact: the digest of the wheel that it has to be about, if that is known.

    Raises:
        Refused: ``signature.*``, ``set.*``, ``subject.digest``, ``sbom.digest``, ``certification.*``.
        FormatError: any ``format.*`` code.
    """
    statements = {kind: found for kind, (found, _) in statements_of(data, keys, artifact).single.items()}
    evidence = Evidence(statements, ())
    manifest = parse_signed_manifest(evidence.require(MANIFEST).statement.predicate)
    certification = parse_certification(evidence.require(CERTIFICATION).statement.predicate)
    about = f"sha256:{statements[MANIFEST].statement.sha256}"
    if manifest.artifact_digest != about:
        raise Refused(
            "subject.digest", "the manifest pins another wheel", found=manifest.artifact_digest, expected=about
        )
    sbom = hashlib.sha256(evidence.require(SBOM).statement.predicate).hexdigest()
    if manifest.sbom_digest != f"sha256:{sbom}":
        raise Refused(
            "sbom.digest", "the SBOM is not the one that the manifest pins", found=sbom, expected=manifest.sbom_digest
        )
    if certification.verificationResult != "PASSED":
        raise Refused(
            "certification.failed", "the earlier release was not certified",
            found=ascii(certification.verificationResult[:80]), expected="PASSED",
        )  # fmt: skip
    check_covenant(certification, evidence)
    return Precedent(manifest, certification, statements)


def read_precedent(path: Path, keys: Keys) -> Precedent:
    """The precedent in a file: an attestation set, or a wheel that has its set beside it.

    Raises:
        UsageError: the file cannot be read; Refused as :func:`open_precedent`.
    """
    artifact = None
    if path.suffix == ".whl":
        files = WheelFiles(path)
        artifact = f"sha256:{hashlib.sha256(files.read_wheel()).hexdigest()}"
        path = files.attestations
    return open_precedent(read_capped(path, MAX_SET, "the earlier release's attestation set"), keys, artifact)


def check_precedes(precedent: Precedent, manifest: SignedManifest) -> None:
    """Demand that the two are releases of one plugin.

    Raises:
        Refused: ``manifest.plugin-id``.
    """
    if precedent.manifest.plugin_id != manifest.plugin_id:
        raise Refused(
            "manifest.plugin-id", "what it is compared with is another plugin", found=precedent.manifest.plugin_id,
            expected=manifest.plugin_id, todo="Name the set of an earlier release of the same plugin.",
        )  # fmt: skip
