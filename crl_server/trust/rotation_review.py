"""What whoever holds an offline key checks before it signs a rotation, from the dossier alone, without the service.

The service may be hostile. So the trust in force is verified from the root that the signer knows by its fingerprint,
and what is to be signed may differ from it in keys, versions and ends only; those are shown, key by key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from crl_server.trust.repository import Repository
from crl_server.trust.rotation_dossier import RotationDossier
from crl_server.trust.rotations import SLACK, Kind, check, key_ids, missing, signers
from crl_server.trust.signing import SigningKey
from crl_server.trust.trust_files import POLICY
from verifier.deployment.enrolment import verify_enrolment
from verifier.deployment.trust import Trust
from verifier.deployment.tuf_chain import root_keys
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.formats import dsse
from verifier.formats.enrolment import parse_enrolment
from verifier.formats.policy import Policy, parse_policy
from verifier.formats.revocations import sha256_hex
from verifier.formats.strict_json import plain
from verifier.formats.text import Digest, Name
from verifier.signatures.private_keys import sign_envelope


class Review(NamedTuple):
    """What a signer should read before signing.

    Attributes:
        kind: what is rotated.
        deployment: of which deployment.
        words: what changes, line by line.
        missing: the signatures that each document still lacks.
    """

    kind: Kind
    deployment: Name
    words: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]

    @property
    def complete(self) -> bool:
        """Whether nobody has to sign any more."""
        return not any(self.missing.values())


def review(dossier: RotationDossier, root: Digest, now: datetime) -> Review:
    """Check a dossier.

    Args:
        dossier: as the service laid it out.
        root: the fingerprint of the deployment's first root, as the signer wrote it down.
        now: the moment (aware, UTC).

    Raises:
        Refused: ``rotation.unfounded`` with what is wrong; ``rotation.outdated``, ``trust.*``.
        FormatError: a document is malformed.
    """
    repository = Repository(dossier.trust)
    found = f"sha256:{sha256_hex(repository.root(1))}"
    if found != root:
        raise _unfounded("the dossier is of another deployment", found, root)
    return judge(dossier, repository, now)


def judge(dossier: RotationDossier, repository: Repository, now: datetime) -> Review:
    """Check a dossier against a repository that is trusted to be the one in force; raises as :func:`review`."""
    plan, trust, before, proposal = dossier.plan, repository.trust(), repository.roles(), dossier.proposal
    if plan.deployment != trust.deployment:
        raise _unfounded("the dossier is of another deployment", str(plan.deployment), str(trust.deployment))
    words = [f"in force: root {trust.root_version}, policy {trust.policy.version}, epoch {trust.checkpoint.epoch}"]
    words += check(plan.kind, before, proposal, now)
    if plan.kind == "head":
        words += _policy_changes(trust.policy, dossier.policy)
        if before.targets.targets[POLICY] == (proposal.targets or before.targets).targets[POLICY]:
            raise _unfounded("the new policy is not among what is signed", "the policy in force")
        if not _lists(dossier, dossier.policy):
            raise _unfounded("another policy is to be signed than the one shown", sha256_hex(dossier.policy))
    lacking = {name: missing(needed, dossier.metadata[name]) for name, needed in signers(before, proposal).items()}
    if plan.kind == "enrolment":
        words += _check_enrolment(dossier.enrolment, repository, trust, now)
        lacking["enrolment"] = _missing_enrolment(dossier, repository, trust)
    return Review(plan.kind, plan.deployment, tuple(words), lacking)


def sign(dossier: RotationDossier, key: SigningKey) -> tuple[str, ...]:
    """Sign every document that takes this key; returns their names. Call it after :func:`review` alone.

    Raises:
        UsageError: ``usage.key`` for a key that none of them takes.
        Unreachable: ``io.failed``.
    """
    repository = Repository(dossier.trust)
    before, metadata = repository.roles(), dossier.metadata
    signed = []
    for name, needed in signers(before, dossier.proposal).items():
        if any(key.public.id in key_ids(one.delegator, one.role) for one in needed):
            metadata[name].sign(key.tuf, append=True)
            dossier.write(name, metadata[name])
            signed.append(name)
    if dossier.plan.kind == "enrolment" and key.public.id in key_ids(before.root, "root"):
        keyid = key.tuf.public_key.keyid
        dossier.add_enrolment_signatures(sign_envelope(dsse.ENROLMENT, dossier.enrolment, (keyid, key)))
        signed.append("enrolment")
    if not signed:
        raise UsageError("usage.key", "nothing here is signed by this key", found=key.public.id)
    return tuple(signed)


def _lists(dossier: RotationDossier, policy: bytes) -> bool:
    targets = dossier.proposal.targets
    return targets is not None and targets.targets[POLICY].hashes.get("sha256") == sha256_hex(policy)


def _policy_changes(before: Policy, data: bytes) -> Iterator[str]:
    """The new policy differs in its head keys, its version and its end alone."""
    after = parse_policy(data)
    if after.version != before.version + 1:
        raise _unfounded("the new policy does not follow the one in force", str(after.version))
    own = ("version", "valid_until", "head_keys", "keys")
    old, new = ({k: v for k, v in plain(policy).items() if k not in own} for policy in (before, after))
    if old != new:
        changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        raise _unfounded("the new policy changes something else than the head key", ", ".join(changed))
    heads = [{head.key for head in policy.head_keys} for policy in (before, after)]
    if {*after.keys} - {*before.keys} - heads[1] or any(after.keys.get(k) != v for k, v in before.keys.items()):
        raise _unfounded("the new policy changes other keys than the head key", ", ".join({*after.keys})[:200])
    yield f"policy {before.version} becomes {after.version}, until {after.valid_until}"
    yield from (f"  head: {key} leaves" for key in sorted(heads[0] - heads[1]))
    yield from (f"  head: {key} comes" for key in sorted(heads[1] - heads[0]))


def _check_enrolment(payload: bytes, repository: Repository, trust: Trust, now: datetime) -> Iterator[str]:
    new = parse_enrolment(payload)
    root = repository.root(trust.root_version)
    if (new.deployment, new.root_bytes) != (trust.deployment, root):
        raise _unfounded("the enrolment bundle is not over the root in force", str(new.deployment))
    floor = new.floor
    if (floor.root, floor.targets, floor.epoch) > (trust.root_version, trust.targets_version, trust.checkpoint.epoch):
        raise _unfounded("the enrolment bundle's floor lies above what is in force", str(plain(floor)))
    if new.issued.instant > now + SLACK:
        raise _unfounded("the enrolment bundle is of the future", new.issued)
    yield f"enrolment bundle for hosts of {new.server}, over root {trust.root_version}"
    yield f"  fingerprint for new hosts: sha256:{sha256_hex(root)}"
    yield f"  floor: policy metadata {floor.targets}, epoch {floor.epoch}, seq {floor.seq}"


def _missing_enrolment(dossier: RotationDossier, repository: Repository, trust: Trust) -> tuple[str, ...]:
    root = repository.root(trust.root_version)
    try:
        if dossier.envelope is not None:
            verify_enrolment(dossier.envelope, Digest(f"sha256:{sha256_hex(root)}"))
            return ()
    except LoadlockError as error:
        if error.code != "trust.root":
            raise
    return (f"{root_keys(root).threshold} root keys in all",)


def _unfounded(what: str, found: str, expected: str = "") -> Refused:
    return Refused("rotation.unfounded", what, found=found, expected=expected)
