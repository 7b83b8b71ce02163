"""An attestation set for people: each statement with who signed it, when it was made, and what it says.

The set verified when the artifact was admitted; nothing is verified here again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from verifier.errors import FormatError
from verifier.formats.bundle import Bundle, parse_set
from verifier.formats.findings import parse_test_result, parse_vulnerabilities
from verifier.formats.manifest import parse_signed_manifest
from verifier.formats.policy import Policy
from verifier.formats.revocations import sha256_hex
from verifier.formats.sbom import parse_sbom
from verifier.formats.statement import (
    CERTIFICATION,
    MANIFEST,
    PROVENANCE,
    SBOM,
    TEST_RESULT,
    VULNERABILITIES,
    parse_certification,
    parse_provenance,
    parse_statement,
    rebuild_in,
)
from verifier.formats.text import Digest, Time


class Told(NamedTuple):
    """What a statement says: its title, when it was made if it says so, and the gist in one line."""

    title: str
    when: Time | None
    gist: str


class Evidence(NamedTuple):
    """One statement of a set.

    Attributes:
        digest: sha256 of its payload; a standing rule can name it.
        who: the principals whose key or identity signed it.
        counted: whether the verdict at admission rests on this signer's statement.
    """

    told: Told
    kind: str
    digest: Digest
    who: str
    keyless: bool
    counted: bool


def evidence(attestations: bytes, signers: Mapping[str, str], policy: Policy) -> Sequence[Evidence]:
    """The statements of an attestation set, in the order of the set.

    Args:
        attestations: the set.
        signers: predicate type to the principal whose statement counted at admission.
        policy: the policy in force, which names the keys.
    """
    return list(_read(attestations, signers, policy))


def _read(attestations: bytes, signers: Mapping[str, str], policy: Policy) -> Iterator[Evidence]:
    for bundle in parse_set(attestations):
        payload = bundle.envelope.unverified_payload
        statement = parse_statement(payload)
        kind = statement.predicate_type
        counted = signers.get(kind)
        names = _principals(bundle, policy)
        who = ", ".join(names) if names else (counted or "") if bundle.material else ""
        yield Evidence(
            told=_told(kind, statement.predicate),
            kind=kind,
            digest=Digest(f"sha256:{sha256_hex(payload)}"),
            who=who or "a key that the policy names no more",
            keyless=bundle.material is not None,
            counted=counted is not None and (counted in names or bundle.material is not None),
        )


def _principals(bundle: Bundle, policy: Policy) -> Sequence[str]:
    """Whose key a bundle's hint points at."""
    try:
        key = f"sha256:{base64.b64decode(bundle.hint or '', validate=True).hex()}"
    except (binascii.Error, ValueError):
        return ()
    return sorted(name for name, principal in policy.principals.items() if key in principal.keys)


def _told(kind: str, predicate: bytes) -> Told:
    reader = _READERS.get(kind)
    if reader is None:
        return Told("Another statement", None, kind)
    try:
        return reader(predicate)
    except FormatError as error:
        return Told("A statement that this release cannot read", None, f"{kind}: {error.what}")


def _manifest(predicate: bytes) -> Told:
    said = parse_signed_manifest(predicate)
    return Told(
        "Manifest", said.built_at, f"the owner {said.owner} declares what {said.plugin_id} {said.version} may do"
    )


def _provenance(predicate: bytes) -> Told:
    said = parse_provenance(predicate)
    run = said.runDetails
    when = run.metadata.finishedOn or run.metadata.startedOn
    rebuilt = rebuild_in(said)
    if rebuilt is not None:
        verdicts = ", ".join(sorted(set(rebuilt.verdicts.values())))
        return Told("Rebuild", when, f"{run.builder.id} built it again: {verdicts}")
    source = said.buildDefinition.externalParameters
    return Told("Provenance", when, f"built by {run.builder.id} from {source.repository or source.sdist or 'a wheel'}")


def _sbom(predicate: bytes) -> Told:
    count = len(parse_sbom(predicate).components)
    return Told("SBOM", None, f"lists {count} component{'' if count == 1 else 's'}")


def _audit(predicate: bytes) -> Told:
    said = parse_vulnerabilities(predicate)
    found, looked = len(said.scanner.result), len(said.audit.dependencies)
    gist = f"{found} known vulnerabilit{'y' if found == 1 else 'ies'} in {looked} dependencies"
    return Told("Audit of vulnerabilities", said.metadata.scanFinishedOn, gist)


def _checks(predicate: bytes) -> Told:
    said = parse_test_result(predicate)
    parts = ((said.passedTests, "passed"), (said.warnedTests, "waived"), (said.failedTests, "failed or not run"))
    gist = "; ".join(f"{word}: {', '.join(names)}" for names, word in parts if names)
    return Told("Release checklist", None, f"{said.result.lower()} ({gist})")


def _certification(predicate: bytes) -> Told:
    said = parse_certification(predicate)
    conditions = f", on condition: {'; '.join(said.terms.conditions)}" if said.terms.conditions else ""
    return Told("Certification", said.timeVerified, f"tier {said.terms.tier} until {said.terms.expires}{conditions}")


_READERS: Mapping[str, Callable[[bytes], Told]] = {
    MANIFEST: _manifest,
    PROVENANCE: _provenance,
    SBOM: _sbom,
    VULNERABILITIES: _audit,
    TEST_RESULT: _checks,
    CERTIFICATION: _certification,
}
