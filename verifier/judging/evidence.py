"""Evidence: the statements of an attestation set that count, and why the others do not.

A bundle chooses nothing. Its hint selects among the principals that the policy names; a statement counts when its
signature verifies and its signer may say such a thing of this plugin. What does not count is set aside with its
reason, so that a refusal for something missing can say what was there instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from verifier.errors import FormatError, Refused
from verifier.formats.dsse import encode_base64
from verifier.formats.policy import PluginRule, Policy, Principal, dump_policy
from verifier.formats.statement import (
    CERTIFICATION,
    MANIFEST,
    PROVENANCE,
    SBOM,
    TEST_RESULT,
    VULNERABILITIES,
    Statement,
    parse_statement,
)
from verifier.formats.text import Digest, Name
from verifier.signatures.identities import identities_of, nearest, read_claims
from verifier.signatures.signatory import NOBODY_VOUCHES, Made, Opened, Signatory
from verifier.value import Value

if TYPE_CHECKING:
    from verifier.formats.bundle import Bundle
    from verifier.signatures.keys import PublicKey

Role = Literal["builder", "rebuilder", "owner", "certifier"]

ROLE_OF: Mapping[str, Role] = {
    MANIFEST: "owner",
    SBOM: "builder",
    PROVENANCE: "builder",
    VULNERABILITIES: "builder",
    TEST_RESULT: "builder",
    CERTIFICATION: "certifier",
}
"""Who says what; a predicate type that is not listed here is ignored. A rebuilder says provenance as well."""

TITLES: Mapping[str, str] = {
    MANIFEST: "plugin manifest",
    SBOM: "SBOM",
    PROVENANCE: "provenance",
    VULNERABILITIES: "audit of vulnerabilities",
    TEST_RESULT: "test result",
    CERTIFICATION: "certification",
}

TO_BE_MADE: Mapping[str, str] = {
    MANIFEST: "Have its owner sign it ('loadlock endorse'), and use the set that comes of it.",
    VULNERABILITIES: "Have it audited ('loadlock check vulnerabilities'), and use the set that comes of it.",
    TEST_RESULT: "Have its release checked ('loadlock check release'), and use the set that comes of it.",
}
"""What to do where a statement was never made; where it is not listed, the code's own advice."""


class Attested(Value, frozen=True):
    """A statement that counts: its signer, the sha256 of the payload by which others pin it, and how it was signed."""

    statement: Statement
    signer: Name
    payload_digest: Digest
    made: Made = NOBODY_VOUCHES


class SetAside(NamedTuple):
    """A statement that does not count: its predicate type (empty when unverified), the code and the reason."""

    predicate_type: str
    code: str
    reason: str


class Rebuilt(Value, frozen=True):
    """A rebuilder's statement that counts: the sha256 of its payload, and how it was signed."""

    statement: Digest
    made: Made


class Evidence(Value, frozen=True):
    """What an attestation set amounts to under a policy, for one plugin."""

    attested: Mapping[str, Attested]
    set_aside: tuple[SetAside, ...]
    ignored: tuple[str, ...] = ()
    rebuilds: Mapping[Name, Attested] = {}
    """The provenance of each rebuilder, by principal."""

    @property
    def counting(self) -> tuple[Attested, ...]:
        """All statements that count, rebuilds included."""
        return (*self.attested.values(), *self.rebuilds.values())

    @property
    def rebuilders(self) -> Mapping[Name, Rebuilt]:
        """What is remembered of the rebuilds, by principal."""
        return MappingProxyType({name: Rebuilt(it.payload_digest, it.made) for name, it in self.rebuilds.items()})

    def words(self) -> str:
        """What counts, and by whom."""
        counted = [f"{TITLES[kind]} by {found.signer}" for kind, found in self.attested.items()]
        return ", ".join([*counted, *(f"rebuild by {name}" for name in self.rebuilds)])

    def require(self, predicate_type: str) -> Attested:
        """The statement of a type.

        Raises:
            Refused: the code of whatever was set aside in its place, else ``set.statement-missing`` or
                ``certification.missing``.
        """
        found = self.attested.get(predicate_type)
        if found is not None:
            return found
        title = TITLES[predicate_type]
        for aside in sorted(self.set_aside, key=lambda entry: _ORDER.index(entry.code)):
            if aside.predicate_type in (predicate_type, ""):
                raise Refused(
                    aside.code,
                    f"no {title} that counts",
                    found=aside.reason,
                    expected=f"a {title} by the {ROLE_OF[predicate_type]} whom the policy names for this plugin",
                )
        code = "certification.missing" if predicate_type == CERTIFICATION else "set.statement-missing"
        present = ", ".join(sorted(TITLES[kind] for kind in self.attested)) or "none that counts"
        raise Refused(
            code, f"the attestation set has no {title}", found=present, expected=f"a {title}",
            todo=TO_BE_MADE.get(predicate_type, ""),
        )  # fmt: skip


_ORDER = (
    "signature.key-revoked",
    "signature.key-retired",
    "signature.wrong-signer",
    "signature.identity",
    "signature.unknown-signer",
)


def verified_payload(bundle: Bundle, signatory: Signatory) -> bytes:
    """The payload of a bundle, once its signature by ``signatory`` has been verified.

    Raises:
        Refused: ``signature.payload-type``, ``signature.invalid``, or another ``signature.*`` code of a keyless one.
    """
    return signatory.open(bundle).payload


def payload_digest(payload: bytes) -> Digest:
    """How one statement pins another: the sha256 of its payload."""
    return Digest.of(payload)


def parse_attestations(data: bytes | None) -> tuple[Bundle, ...]:
    """Step 3: the set is there, and every line is well-formed.

    Raises:
        Refused: ``set.missing``; FormatError with any ``format.*`` or ``set.count`` code.
    """
    if data is None:
        raise Refused(
            "set.missing",
            "the plugin is unsigned: no attestation set lies beside the wheel",
            expected="<wheel file name>.attestations.jsonl",
        )
    from verifier.formats.bundle import parse_set  # not for a set that was weighed in an earlier start

    return parse_set(data)


class KeyRing:
    """Who signs for a policy's principals, read once: keys by the hint that bundles carry, others by their identity.

    The policy says in which mode a principal signs. A bundle of the other mode selects nobody.

    Args:
        policy: the verified policy.
        roots: the trusted roots that it names, as verified bytes.
    """

    def __init__(self, policy: Policy, roots: Mapping[Name, bytes]) -> None:
        self.policy = policy
        self._by_hint = {
            encode_base64(bytes.fromhex(key.hex)): (name, policy.keys[key])
            for name, principal in policy.principals.items()
            for key in principal.keys
        }
        self._keyed: dict[str, tuple[Name, PublicKey]] = {}
        self._keyless = identities_of(policy, roots)
        self._roots = roots

    @property
    def is_keyless(self) -> bool:
        """Whether any principal signs without a key."""
        return bool(self._keyless)

    @cached_property
    def digest(self) -> bytes:
        """The sha256 of all that this was made of: policy and trusted roots."""
        found = hashlib.sha256(dump_policy(self.policy))
        for name, root in sorted(self._roots.items()):
            found.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(root).digest())
        return found.digest()

    def find(self, hint: str) -> tuple[Name, PublicKey] | None:
        """The principal and key that a hint selects, if the policy names one.

        Raises:
            Refused: ``trust.policy`` or ``usage.key`` for a key that is not what the policy says; that of a verified
                policy is.
        """
        found = self._keyed.get(hint)
        if found is None and hint in self._by_hint:
            from verifier.signatures.keys import PublicKey  # cryptography: who has weighed a set before needs none

            name, key = self._by_hint[hint]
            found = self._keyed[hint] = (name, PublicKey.from_policy(key))
        return found

    def select(self, bundle: Bundle) -> tuple[Name, Signatory] | SetAside:
        """The principal whom a bundle claims to be by, or why it is nobody's.

        Raises:
            Refused: ``signature.certificate`` for a certificate that cannot be read.
        """
        if bundle.material is not None:
            known = next((entry for entry in self._keyless if entry[1].selected_by(bundle)), None)
            if known is not None:
                return known
            claims = read_claims(bundle.material.certificate_der)
            return SetAside("", "signature.identity", nearest(claims, self._keyless))
        found = self.find(bundle.hint or "")
        return found or SetAside("", "signature.unknown-signer", f"a statement by the key {bundle.hint!a}")


def weigh(bundles: tuple[Bundle, ...], ring: KeyRing, rule: PluginRule, artifact: Digest) -> Evidence:
    """Step 4: verify every signature by a known key, and keep the statements that count for this plugin.

    No statement is read before all these signatures hold.

    Args:
        bundles: the parsed set.
        ring: the keys of the verified policy.
        rule: the policy's entry for the plugin.
        artifact: the wheel's digest; a retired key still counts for the artifacts it is listed with.

    Raises:
        Refused: ``signature.invalid``, ``signature.payload-type``, ``set.duplicate``; any ``format.*`` or
            ``subject.*`` code of a statement that counts.
    """
    attested: dict[str, Attested] = {}
    aside: list[SetAside] = []
    ignored: list[str] = []
    rebuilds: dict[Name, Attested] = {}
    opened: list[tuple[Name, Opened]] = []
    for bundle in bundles:
        known = ring.select(bundle)
        if isinstance(known, SetAside):
            aside.append(known)
        else:
            opened.append((known[0], _open(bundle, *known)))
    for name, (payload, made) in opened:
        candidate = Attested(parse_statement(payload), name, payload_digest(payload), made)
        kind = candidate.statement.predicate_type
        if kind not in ROLE_OF:
            ignored.append(kind)
        elif reason := why_not(kind, name, made, ring.policy.principals[name], rule, artifact):
            aside.append(reason)
        elif role_in(rule, name, kind) == "rebuilder":
            if name in rebuilds:
                raise FormatError("set.duplicate", f"the set has two rebuilds by {name!r}")
            rebuilds[name] = candidate
        elif kind in attested:
            raise FormatError("set.duplicate", f"the set has two statements of one kind: {TITLES[kind]}")
        else:
            attested[kind] = candidate
    return Evidence(attested, tuple(aside), tuple(ignored), rebuilds)


def _open(bundle: Bundle, name: Name, signatory: Signatory) -> Opened:
    try:
        return signatory.open(bundle)
    except Refused as error:
        if error.code != "signature.invalid":
            raise
        raise Refused(
            "signature.invalid",
            "a statement's signature does not verify",
            found=f"a statement that claims to be by {name!r}" + (f": {error.found}" if error.found else ""),
            expected="bytes exactly as they were signed",
        ) from error


def why_not(
    kind: str, signer: Name, made: Made, principal: Principal, rule: PluginRule, artifact: Digest
) -> SetAside | None:
    """Why a statement of ``kind`` by ``signer``, so made, does not count for ``artifact``; None when it counts."""
    role = role_in(rule, signer, kind)
    standing = principal.standing_of(made.key)
    end = principal.not_after
    if signer not in _allowed(role, rule, artifact):
        code, why = "signature.wrong-signer", f"who is no {role} of this plugin"
    elif standing is None:
        code, why = "signature.unknown-signer", "with a key that is not theirs any more"
    elif standing.status == "revoked":
        code, why = "signature.key-revoked", "whose key is revoked"
    elif standing.status == "retired" and artifact not in standing.accepted:
        code, why = "signature.key-retired", "whose key is retired and not accepted for this wheel"
    elif end is not None and made.key is None and (made.at is None or made.at > end.instant):
        when = f"signed at {made.at:%Y-%m-%dT%H:%M:%SZ}" if made.at else "signed nobody knows when"
        code, why = "signature.key-retired", f"{when}; they sign until {end}"
    else:
        return None
    return SetAside(kind, code, f"a {TITLES[kind]} by {signer!r}, {why}")


def role_in(rule: PluginRule, signer: Name, kind: str) -> Role:
    """The role in which ``signer`` says a statement of ``kind`` of the plugin of ``rule``, allowed or not."""
    return "rebuilder" if kind == PROVENANCE and signer in rule.rebuilders else ROLE_OF[kind]


def _allowed(role: Role, rule: PluginRule, artifact: Digest) -> tuple[Name, ...]:
    """Who may act in a role for this artifact: a former owner for those alone that were accepted from them."""
    match role:
        case "builder":
            return rule.builders
        case "rebuilder":
            return rule.rebuilders
        case "owner":
            return (*rule.owners, *(entry.owner for entry in rule.former_owners if artifact in entry.accepted))
        case "certifier":
            return rule.certifiers
