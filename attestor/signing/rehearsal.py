"""What a policy would say of statements that nobody has signed yet.

The verification of a host runs, whole, over the set as it would become: stand-ins sign in the place of those who would,
with keys that are made for it and thrown away, and that a copy of the verified policy names in the place of theirs.
Nothing that a stand-in signed is handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import structs

from attestor.checking.review import Keys
from attestor.pipeline import Described
from attestor.signing.certify import Terms, certify
from attestor.signing.endorse import endorse
from attestor.signing.signers import KeySigner
from verifier.errors import Refused
from verifier.formats.policy import TIERS, Policy, TierName
from verifier.formats.text import Name
from verifier.judging.decide import ADMISSION
from verifier.judging.judgements import rule_of
from verifier.judging.verify import Ground, VerifiedPlugin, verify
from verifier.signatures.identities import identities_of, nearest
from verifier.signatures.keys import PublicKey
from verifier.signatures.private_keys import PrivateKey
from verifier.signatures.signatory import Signatory

AWAITED = {
    "certification.layout": (10,),
    "certification.missing": (9, 10),
    "provenance.threshold": (9,),
    "set.statement-missing": (10,),  # at step 9 it is the provenance, which nobody can add any more
}
"""What a release may still lack when it is built or endorsed, since others add it: refusals, and of which steps."""
_LIFE = timedelta(days=1)


@dataclass(frozen=True)
class Outlook:
    """What the policy would say at one tier.

    Args:
        tier: the tier; None where nobody may certify the plugin.
        refusal: why it would be refused; None when it would be allowed.
    """

    tier: TierName | None
    refusal: Refused | None = None

    @property
    def open(self) -> bool:
        """Whether nothing stands against it but what others may still add."""
        return self.refusal is None or self.refusal.step in AWAITED.get(self.refusal.code, ())

    def __str__(self) -> str:
        tier = self.tier or "uncertified"
        if self.refusal is None:
            return f"{tier}: allowed"
        return f"{tier}: {'awaits' if self.open else 'refused'}, {self.refusal.what} [{self.refusal.code}]"


@dataclass(frozen=True)
class Case:
    """A wheel, and what it is judged by.

    Args:
        ground: what a host of the deployment judges by, verified.
        wheel: the wheel's bytes.
        file_name: its file name.
        now: the moment (aware, UTC).
    """

    ground: Ground
    wheel: bytes
    file_name: str
    now: datetime


class Cast:
    """The stand-ins of one rehearsal, and the policy that knows them.

    Args:
        case: what is rehearsed.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.policy: Policy = case.ground.trust.policy
        self._signers: dict[Name, KeySigner] = {}

    def in_place_of(self, signatory: Signatory) -> KeySigner:
        """A stand-in for whoever signs with a key, or as an identity.

        Raises:
            Refused: ``signature.unknown-signer``, ``signature.identity``, or ``signature.key-retired`` for a former key
                of theirs.
        """
        if not isinstance(signatory, PublicKey):
            return self.stand_in(self._identified(signatory))
        key = signatory
        known = self.case.ground.ring.find(key.hint)
        if known is None:
            raise Refused("signature.unknown-signer", "the policy does not name the key to sign with", found=key.id)
        name = known[0]
        if self.case.ground.trust.policy.principals[name].key != key.id:
            raise Refused("signature.key-retired", f"the key is a former one of {name!r}", found=key.id)
        return self.stand_in(name)

    def _identified(self, signatory: Signatory) -> Name:
        """The principal whose identity a token states."""
        claims = getattr(getattr(signatory, "identity", None), "claims", None)
        known = identities_of(self.policy, self.case.ground.trust.trusted_roots)
        if claims is None:
            raise Refused("signature.identity", "nobody knows what the certificate will state", found=signatory.id)
        for name, entry in known:
            if not entry.identity.differences(claims):
                return name
        raise Refused(
            "signature.identity", "the policy does not name the identity to sign as", found=nearest(claims, known)
        )

    def stand_in(self, name: Name) -> KeySigner:
        """A stand-in for a principal of the policy.

        Raises:
            Refused: ``signature.unknown-signer``.
        """
        if name not in self._signers:
            principal = self.policy.principals.get(name)
            if principal is None:
                raise Refused("signature.unknown-signer", f"the policy does not know {name!r}")
            key = PrivateKey.generate()
            playing = structs.replace(
                principal, mode="key", key=key.public.id, root=None, workflow=None,
                person=None, not_after=None,
            )  # fmt: skip
            self.policy = structs.replace(
                self.policy,
                keys={**self.policy.keys, key.public.id: key.public.entry},
                principals={**self.policy.principals, name: playing},
            )
            self._signers[name] = KeySigner(key)
        return self._signers[name]

    def verify(self, attestations: bytes) -> VerifiedPlugin:
        """Verify a set as a registry would admit it; raises as :func:`verifier.judging.verify.verify`."""
        real, case = self.case.ground, self.case
        ground = Ground(
            deployment=real.deployment, floor=real.floor, trust=structs.replace(real.trust, policy=self.policy),
            revocations=real.revocations, time_floor=real.time_floor,
        )  # fmt: skip
        return verify(case.wheel, case.file_name, attestations, ground, case.now, ADMISSION)


def rehearse_attestation(case: Case, described: Described, builder: Signatory) -> list[Outlook]:
    """What the policy would say, were the builder, the owner whom the manifest names, and a certifier to sign.

    Args:
        case: the wheel, and what it is judged by.
        described: what the builder is about to sign.
        builder: the key to sign with.

    Raises:
        Refused: it would be refused at every tier, with the refusal of the highest.
    """
    cast = Cast(case)
    signer, owner = cast.in_place_of(builder), cast.stand_in(described.manifest.owner)
    _check_apart(owner.public_key, [signer.public_key])
    endorsed = endorse(
        case.wheel, case.file_name, described.signed(signer), described.covenant.payload, owner, [signer.public_key],
        now=case.now,
    )  # fmt: skip
    keys: Keys = {"builder": [signer.public_key], "owner": [owner.public_key]}
    return _at_every_tier(cast, endorsed.attestations, keys)


def rehearse_endorsement(
    case: Case,
    attestations: bytes | None,
    unsigned: bytes,
    owner: Signatory,
    builders: Sequence[Signatory],
    rebuilders: Sequence[Signatory],
) -> list[Outlook]:
    """What the policy would say, were the owner and a certifier to sign.

    Args:
        case: the wheel, and what it is judged by.
        attestations: its set.
        unsigned: the statement that awaits its owner.
        owner: the key to sign with.
        builders: the keys of the builders whose statements the owner accepts.
        rebuilders: those of accepted rebuilders.

    Raises:
        Refused: as :func:`rehearse_attestation`, and as :func:`attestor.signing.endorse.endorse`.
    """
    cast = Cast(case)
    _check_apart(owner, builders)
    signer = cast.in_place_of(owner)
    endorsed = endorse(
        case.wheel, case.file_name, attestations, unsigned, signer, builders, now=case.now, rebuilders=rebuilders
    )
    keys: Keys = {"builder": builders, "rebuilder": rebuilders, "owner": [signer.public_key]}
    return _at_every_tier(cast, endorsed.attestations, keys)


def rehearse_certification(
    case: Case, endorsed: bytes, certifier: Signatory, keys: Keys, terms: Terms
) -> list[Outlook]:
    """Verify the set as it would be once the certifier has signed; nothing is awaited any more.

    Args:
        case: the wheel, and what it is judged by.
        endorsed: its set without a certification.
        certifier: the key to sign with.
        keys: those of everybody else.
        terms: what would be granted.

    Raises:
        Refused: as :func:`verifier.judging.verify.verify`, and as :func:`attestor.signing.certify.certify`.
    """
    cast = Cast(case)
    signer = cast.in_place_of(certifier)
    done = certify(case.wheel, case.file_name, endorsed, signer, keys, terms, now=case.now)
    return [Outlook(cast.verify(done.attestations).tier)]


def rehearse_publication(case: Case, attestations: bytes) -> list[Outlook]:
    """Verify the set as the server will; raises as :func:`verifier.judging.verify.verify`."""
    return [Outlook(Cast(case).verify(attestations).tier)]


def _check_apart(owner: Signatory, builders: Sequence[Signatory]) -> None:
    """That owner and builder are two; whoever certifies could not tell the statements of one key apart."""
    if owner.id in {key.id for key in builders}:
        raise Refused(
            "roles.not-disjoint", "the owner would sign with the builder's key",
            todo="Have the owner sign with a key of their own.",
        )  # fmt: skip


def _at_every_tier(cast: Cast, endorsed: bytes, keys: Keys) -> list[Outlook]:
    case = cast.case
    rule, certifiers = rule_of(cast.policy, case.file_name), cast.policy.certifiers
    outlooks = []
    for tier in reversed([tier for tier in TIERS if tier in cast.policy.tiers]):
        able = [name for name in rule.certifiers if TIERS.index(certifiers[name].max_tier) >= TIERS.index(tier)]
        if able:
            signer, terms = cast.stand_in(able[0]), Terms(tier, case.now + _LIFE)
            done = certify(case.wheel, case.file_name, endorsed, signer, keys, terms, now=case.now)
            outlooks.append(_outlook(cast, tier, done.attestations))
    outlooks = outlooks or [_outlook(cast, None, endorsed)]
    refusals = [outlook.refusal for outlook in outlooks if not outlook.open]
    if len(refusals) == len(outlooks) and refusals[0] is not None:
        raise refusals[0]
    return outlooks


def _outlook(cast: Cast, tier: TierName | None, attestations: bytes) -> Outlook:
    try:
        cast.verify(attestations)
    except Refused as refusal:
        return Outlook(tier, refusal)
    return Outlook(tier)
