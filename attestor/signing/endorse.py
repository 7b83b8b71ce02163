"""The owner's signature under the plugin manifest, made elsewhere than in the build job.

The owner signs the statement that the build left unsigned, byte for byte, after everything that it pins was compared
with the wheel and with what the builder verifiably said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from attestor.checking.review import Keys, manifest_awaiting, review
from attestor.describing.unwritten import refuse_unwritten
from attestor.signing.signers import Signer
from attestor.signing.statements import draft, gate_of
from verifier.errors import Refused, UsageError
from verifier.formats.bundle import dump_set
from verifier.formats.manifest import SignedManifest
from verifier.formats.statement import MANIFEST, parse_statement
from verifier.formats.strict_json import plain
from verifier.judging.findings import Findings, findings_in
from verifier.signatures.signatory import Signatory


@dataclass(frozen=True)
class Endorsed:
    """The set with the owner's statement, what the owner said, and what the builder has found before."""

    attestations: bytes
    manifest: SignedManifest
    findings: Findings


def endorse(
    wheel: bytes,
    file_name: str,
    attestations: bytes | None,
    unsigned: bytes,
    owner: Signer,
    builders: Sequence[Signatory],
    *,
    now: datetime,
    rebuilders: Sequence[Signatory] = (),
) -> Endorsed:
    """Sign the manifest statement of a wheel as its owner.

    Args:
        wheel: the wheel's bytes.
        file_name: its file name.
        attestations: the set with the builder's statements.
        unsigned: the manifest's statement, as the build left it.
        owner: the owner's key.
        builders: the keys of the builders whose statements the owner accepts.
        now: the moment, aware.
        rebuilders: the keys of those whose rebuilds may be in the set.

    Raises:
        UsageError: ``usage.exists``: an owner has signed already.
        Refused: whatever :func:`attestor.checking.review.review` refuses; ``manifest.*``, ``manifest.draft`` among
            them; ``leak.found``.
        FormatError: any ``format.*`` code.
    """
    keys: Keys = {"builder": builders, "rebuilder": rebuilders, "owner": [owner.signatory]}
    found = review(wheel, file_name, attestations, keys)
    if MANIFEST in found.statements:
        raise UsageError("usage.exists", "this set has been endorsed already", todo="Publish it, or attest again.")
    manifest = manifest_awaiting(unsigned, found)
    refuse_unwritten(plain(manifest), "the manifest")
    if manifest.expires_at is not None and manifest.expires_at.instant <= now:
        raise Refused(
            "manifest.expired", "the manifest has expired", found=manifest.expires_at, expected="an end ahead of now",
            todo="Have it attested again, with another 'expires_at' in the manifest.",
        )  # fmt: skip
    statement = parse_statement(unsigned)
    checked = draft(found.snapshot, MANIFEST, statement.predicate, gate_of(manifest))
    if checked.payload != unsigned:
        raise Refused(
            "subject.digest",
            "the unsigned statement is not the one that the build left beside this wheel",
            found=ascii(statement.subject_name[:200]),
            expected=f"a statement about {file_name}, exactly as it was written",
            todo="Attest the plugin again.",
        )
    findings = findings_in(found.statements)
    return Endorsed(dump_set((*found.kept(), checked.sign(owner))), manifest, findings)
