"""What standing rules look at, of artifacts admitted by a release that did not keep it: made up for at a start.

From the stored attestation set, which passed verification when it was admitted. Which of its statements counted then is
not known any more; all of them count here, under every signer that was recorded and every key whose hint a statement
carries: that can deny more than it should, and never less.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime

from sqlmodel import col, select

from crl_server.lists import rules
from crl_server.records.audit import Act
from crl_server.revocation import reach, standing
from crl_server.storage.ledger import Ledger
from crl_server.storage.tables import Artifact, Revocation, StandingRule
from verifier.errors import LoadlockError
from verifier.formats.bundle import parse_set
from verifier.formats.manifest import parse_signed_manifest
from verifier.formats.policy import Policy
from verifier.formats.revocations import number_of, sha256_hex
from verifier.formats.sbom import Component, parse_sbom
from verifier.formats.statement import MANIFEST, SBOM, parse_statement
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest, Name, Time
from verifier.judging.evidence import Attested
from verifier.revocation.standing_rules import Subject, subject_of
from verifier.signatures.keys import PublicKey
from verifier.signatures.signatory import Made

log = logging.getLogger(__name__)


def complete(ledger: Ledger, policy: Policy, through: int, now: datetime) -> int:
    """Make up for what is missing, and list what a rule in force denies; returns how many artifacts it found.

    Args:
        ledger: an open transaction.
        policy: the policy in force; it knows the keys by their hints.
        through: the last event that the checkpoint has taken into its base.
        now: the moment (aware, UTC).

    Raises:
        Refused: ``list.full``.
    """
    done = []
    for row in ledger.session.exec(select(Artifact).where(col(Artifact.subject).is_(None))).all():
        try:
            row.subject = dumps(subject_from(row, policy))
        except LoadlockError as error:
            log.warning(
                "rules cannot be held against %s, which is known from an earlier release: %s", row.digest, error
            )
            continue
        ledger.session.add(row)
        done.append(row.digest)
    ledger.session.flush()
    if done:
        _resolve(ledger, frozenset(done), through, now)
    return len(done)


def subject_from(row: Artifact, policy: Policy) -> Subject:
    """What rules look at, from what the registry keeps of an artifact.

    Raises:
        FormatError, Refused: it is malformed.
    """
    hints = {PublicKey.from_policy(key).hint: digest for digest, key in policy.keys.items()}
    signers = [Name(name) for name in sorted(set(json.loads(row.signers).values()))]
    attested, manifest, components = list[Attested](), None, tuple[Component, ...]()
    for bundle in parse_set(row.attestations):
        payload = bundle.envelope.unverified_payload
        statement = parse_statement(payload)
        if statement.predicate_type == MANIFEST:
            manifest = parse_signed_manifest(statement.predicate)
        if statement.predicate_type == SBOM:
            components = parse_sbom(statement.predicate).components
        digest, key = Digest(f"sha256:{sha256_hex(payload)}"), hints.get(bundle.hint or "")
        attested += [Attested(statement, name, digest, Made(None if key is None else Digest(key))) for name in signers]
    manifest = manifest or parse_signed_manifest(row.manifest)
    found = subject_of(manifest, attested, components, None)
    return Subject(**{name: getattr(found, name) for name in found.__struct_fields__} | {
        "statements": tuple(sorted(set(found.statements))),
    })  # fmt: skip


def _resolve(ledger: Ledger, digests: frozenset[str], through: int, now: datetime) -> None:
    """What a rule in force denies of these goes onto the list, with the rule as its reason."""
    found = dict(_matched(ledger, digests))
    new = sorted({digest for some in found.values() for digest in some if ledger.listed(digest) is None})
    if not found:
        return
    rules.check_room(ledger.entry_count(through + 1, ledger.last_seq()), len(new))
    seq = ledger.add_event(new, now)
    for name, some in found.items():
        rule = ledger.session.get_one(StandingRule, number_of(name))
        for digest in some:
            ledger.add_reason(
                Revocation(digest=digest, reason=rule.reason, note=rule.note, at=Time.of(now), by="server",
                           rule=rule.number, severity=rule.severity)
            )  # fmt: skip
    detail = {"rules": sorted(found)[:100], "listed": len(new), "seq": seq}
    ledger.record(Act("server", "artifact.revoke", f"{len(new)} artifacts of an earlier release", detail), now)


def _matched(ledger: Ledger, digests: frozenset[str]) -> Iterator[tuple[str, list[Digest]]]:
    for name, some in reach.reached(ledger, standing.in_force(ledger).rules).items():
        mine = [digest for digest in some if digest in digests]
        if mine:
            yield name, mine
