"""Trust: from a pinned root and stored bytes to a verified policy and checkpoint.

Pure: bytes in, :class:`Trust` out. Nothing is trusted because it lies on disk; whoever opens a deployment verifies it
again here, offline, and then asks :meth:`Trust.check` whether it is the right deployment, recent enough and in force.

The expiry of TUF metadata is not judged here. It governs refreshing, where a frozen repository must be noticed; a host
that cannot reach its server goes on until the policy's own ``valid_until`` or the revocation list's grace has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from verifier.deployment.chain import Chain, KnownChain, RoleFacts
from verifier.errors import Refused
from verifier.formats.policy import Policy, parse_policy
from verifier.formats.revocations import Checkpoint, parse_checkpoint, sha256_hex
from verifier.formats.text import Name
from verifier.signatures.known_signers import check_keys
from verifier.value import Value

if TYPE_CHECKING:
    from verifier.formats.enrolment import Floor
    from verifier.private_cache import PrivateCache


class Trust(Value, frozen=True):
    """What a deployment's offline keys say, verified.

    Attributes:
        policy: who may sign what, and what each tier requires.
        checkpoint: the last state of the revocation list that two offline keys signed.
        roles: version and expiry of ``root``, ``timestamp``, ``snapshot``, ``targets`` and ``checkpoints``.
        trusted_roots: the Sigstore trusted roots that the policy names, as verified bytes.
    """

    policy: Policy
    checkpoint: Checkpoint
    roles: Mapping[str, RoleFacts]
    trusted_roots: Mapping[Name, bytes] = {}

    @property
    def deployment(self) -> str:
        """The deployment that policy and checkpoint agree on."""
        return self.policy.deployment

    @property
    def root_version(self) -> int:
        """The version of the last root."""
        return self.roles["root"].version

    @property
    def targets_version(self) -> int:
        """The version of the role that signs the policy."""
        return self.roles["targets"].version

    @property
    def checkpoints_version(self) -> int:
        """The version of the role that signs checkpoints."""
        return self.roles["checkpoints"].version

    def check(self, deployment: str, floor: Floor, now: datetime) -> None:
        """Demand that this trust is of ``deployment``, at or above ``floor``, and in force at ``now``.

        Args:
            deployment: the id that the host was enrolled with.
            floor: the lowest versions that are acceptable: those the host shipped with or has already seen.
            now: the moment to judge at (aware, UTC).

        Raises:
            Refused: ``trust.deployment``, ``trust.rollback``, ``trust.expired``.
        """
        self.check_floor(deployment, floor)
        if now >= self.policy.valid_until.instant:
            raise Refused(
                "trust.expired",
                "the policy is no longer valid",
                found=f"valid until {self.policy.valid_until}",
                expected=f"a policy in force at {now:%Y-%m-%dT%H:%M:%SZ}",
            )

    def check_floor(self, deployment: str, floor: Floor) -> None:
        """The part of :meth:`check` that no clock decides.

        Raises:
            Refused: ``trust.deployment``, ``trust.rollback``.
        """
        if self.deployment != deployment:
            raise Refused(
                "trust.deployment",
                "the policy belongs to another deployment",
                found=repr(self.deployment),
                expected=repr(deployment),
            )
        for name, found, lowest in (
            ("root", self.root_version, floor.root),
            ("policy", self.targets_version, floor.targets),
            ("checkpoint's epoch", self.checkpoint.epoch, floor.epoch),
        ):
            if found < lowest:
                raise Refused(
                    "trust.rollback",
                    f"the {name} is older than this host accepts",
                    found=str(found),
                    expected=f"{lowest} or higher",
                )


def verify_trust(
    pinned_root: bytes,
    metadata: Mapping[str, bytes],
    targets: Mapping[str, bytes],
    cache: PrivateCache | None = None,
) -> Trust:
    """Verify stored trust from the pinned root.

    Args:
        pinned_root: the ``root.json`` that this host was enrolled with.
        metadata: ``N.root.json`` for every N above the pinned one, ``timestamp.json``, ``snapshot.json``,
            ``targets.json`` and ``checkpoints.json``; no other name.
        targets: ``policy.json``, ``checkpoints/checkpoint.json``, and ``trusted_root.<name>.json`` for each trusted
            root that the policy names; no other name.
        cache: where it is kept which repositories were verified before.

    Raises:
        Refused: ``trust.root``, ``trust.metadata``, ``trust.deployment`` when policy and checkpoint disagree, and
            whatever :func:`parse_policy`, :func:`check_keys` and :func:`parse_checkpoint` refuse.
    """
    known = None if cache is None else KnownChain(cache, pinned_root, metadata, targets)
    recalled = None if known is None else known.recall()
    chain = recalled or _verified(pinned_root, metadata, targets)
    policy = parse_policy(chain.policy)
    if recalled is None:
        check_keys(policy)
        if known is not None:
            known.remember(chain)
    checkpoint = parse_checkpoint(chain.checkpoint)
    if checkpoint.deployment != policy.deployment:
        raise Refused(
            "trust.deployment",
            "the checkpoint belongs to another deployment than the policy",
            found=repr(checkpoint.deployment),
            expected=repr(policy.deployment),
        )
    return Trust(policy, checkpoint, chain.roles, _trusted_roots(policy, chain.trusted_roots))


def _verified(pinned_root: bytes, metadata: Mapping[str, bytes], targets: Mapping[str, bytes]) -> Chain:
    from verifier.deployment.tuf_chain import verify_chain  # who does not verify does not wait for tuf to be imported

    return verify_chain(pinned_root, metadata, targets)


def _trusted_roots(policy: Policy, found: Mapping[str, bytes]) -> Mapping[Name, bytes]:
    """The trusted roots by name: exactly those that the policy names, each by its digest."""
    if {*found} != {*policy.trusted_roots}:
        raise Refused(
            "trust.metadata", "the Sigstore trusted roots are not those that the policy names",
            found=", ".join(sorted(found)) or "none", expected=", ".join(sorted(policy.trusted_roots)) or "none",
        )  # fmt: skip
    for name, rule in policy.trusted_roots.items():
        digest = f"sha256:{sha256_hex(found[name])}"
        if digest != rule.digest:
            raise Refused(
                "trust.metadata", f"the Sigstore trusted root {name!r} is not the one that the policy names",
                found=digest, expected=rule.digest,
            )  # fmt: skip
    return {name: found[name] for name in policy.trusted_roots}
