"""Other keys for the roles of the trust repository: what to propose, and what a proposal may change. Pure.

    kind          what is signed anew            who signs it
    root          root                           enough of the old root keys, and enough of the new ones
    targets       root, targets                  root keys; the new targets key
    online        root                           root keys (snapshot and timestamp follow by themselves)
    checkpoints   targets, checkpoints           the targets key; two of the new checkpoint keys
    head          targets, with a new policy     the targets key

Roots are followed from one to the next, each by the threshold of the one before: a host that slept through several
still arrives. A proposal without new keys renews what is about to expire.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from crl_server.trust.trust_files import POLICY
from crl_server.trust.tuf_roles import CHECKPOINTS_LIFE, ROOT_LIFE, TARGETS_LIFE, Roles, cut, role_end
from verifier.deployment.tuf_chain import KEYS_LIMIT, public_key
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.formats.text import Digest
from verifier.signatures.keys import PublicKey

Kind = Literal["root", "targets", "checkpoints", "online", "head", "enrolment"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What can be rotated; ``enrolment`` signs the bundle for new hosts over the root of today."""
ROOT_ROLES: Mapping[str, tuple[str, ...]] = {
    "root": ("root",), "targets": ("targets",), "online": ("snapshot", "timestamp"),
}  # fmt: skip
"""Which roles of the root a kind gives other keys to."""
CHANGES: Mapping[Kind, tuple[str, ...]] = {
    "root": ("root",), "targets": ("root", "targets"), "online": ("root",),
    "checkpoints": ("targets", "checkpoints"), "head": ("targets",), "enrolment": (),
}  # fmt: skip
"""Which documents a kind signs anew."""
SLACK = timedelta(days=1)
"""By how much the clocks of who prepares and who signs may differ."""
MAX_VERSION = 2**31

RoleT = TypeVar("RoleT", Root, Targets)


class Proposal(NamedTuple):
    """The documents that are to be signed; None for one that stays."""

    root: Root | None = None
    targets: Targets | None = None
    checkpoints: Targets | None = None

    def over(self, before: Roles) -> Roles:
        """All roles as they will be."""
        return Roles(
            self.root or before.root, self.targets or before.targets, self.checkpoints or before.checkpoints
        )  # fmt: skip


class Signers(NamedTuple):
    """Whose signatures a document needs, in words, and the role that says so."""

    words: str
    delegator: Root | Targets
    role: str


class Wanted(NamedTuple):
    """What people ask for.

    Attributes:
        new: the new keys; none to renew what is there.
        old: the ids of the keys that they take the place of; none when they replace all keys of the role.
        above: a version that the new ``targets`` has to exceed, as hosts ask for that took a thief's.
        added: keys that come beside those there are; of the root alone.
        threshold: how many keys of the root have to sign from now on; 0 for as many as before.
    """

    new: Sequence[PublicKey] = ()
    old: Sequence[Digest] = ()
    above: int = 0
    added: Sequence[PublicKey] = ()
    threshold: int = 0


def propose(kind: Kind, before: Roles, wanted: Wanted, until: datetime, now: datetime, policy: bytes = b"") -> Proposal:
    """The documents to sign.

    Args:
        kind: what is rotated; not ``enrolment``.
        before: the roles in force.
        wanted: which keys go and come.
        until: the end of the policy.
        now: the moment (aware, UTC).
        policy: the new policy's bytes, for ``head``.

    Raises:
        UsageError: ``usage.arguments``, ``usage.key``.
    """
    check_new(before, [*wanted.new, *wanted.added])
    root = targets = checkpoints = None
    if "root" in CHANGES[kind]:
        root = _next(Root, before.root, cut(now + ROOT_LIFE))
        for role in ROOT_ROLES[kind]:
            _replace(root, role, wanted)
        for key in wanted.added:
            root.add_key(tuf_key(key), "root")
        root.roles["root"].threshold = wanted.threshold or before.root.roles["root"].threshold
    if "targets" in CHANGES[kind]:
        targets = _next(Targets, before.targets, role_end(until, now), wanted.above)
        if kind == "head":
            targets.targets[POLICY] = TargetFile.from_data(POLICY, policy, ["sha256"])
        if kind == "checkpoints":
            _replace(targets, "checkpoints", wanted)
    if "checkpoints" in CHANGES[kind]:
        checkpoints = _next(Targets, before.checkpoints, cut(now + CHECKPOINTS_LIFE))
    return Proposal(root, targets, checkpoints)


def check(kind: Kind, before: Roles, proposal: Proposal, now: datetime) -> tuple[str, ...]:
    """Demand that a proposal changes keys, versions and ends, and nothing else; returns what it changes, in words.

    Args:
        kind: what it says to be.
        before: the roles in force, verified.
        proposal: what is to be signed; it may come from anybody.
        now: the moment (aware, UTC).

    Raises:
        Refused: ``rotation.unfounded``; ``rotation.outdated`` when it does not follow what is in force.
    """
    found = tuple(name for name in ("root", "targets", "checkpoints") if getattr(proposal, name) is not None)
    if found != CHANGES[kind]:
        raise _unfounded("other documents are to be signed than this takes", ", ".join(found), ", ".join(CHANGES[kind]))
    try:
        words = tuple(_differences(kind, before, proposal, now))
        _check_separation(proposal.over(before))
    except (LoadlockError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, Refused) and error.code.startswith("rotation."):
            raise
        raise _unfounded("a document is malformed", ascii(str(error))[:200]) from error
    return words


def signers(before: Roles, proposal: Proposal) -> dict[str, tuple[Signers, ...]]:
    """Whose signatures each document needs."""
    after = proposal.over(before)
    found: dict[str, tuple[Signers, ...]] = {}
    if proposal.root is not None:
        found["root"] = (
            Signers("root keys of before", before.root, "root"), Signers("root keys from now on", after.root, "root")
        )  # fmt: skip
    if proposal.targets is not None:
        found["targets"] = (Signers("policy keys", after.root, "targets"),)
    if proposal.checkpoints is not None:
        found["checkpoints"] = (Signers("checkpoint keys", after.targets, "checkpoints"),)
    return found


def missing(needed: Sequence[Signers], metadata: Metadata[Any]) -> tuple[str, ...]:
    """Which signatures a document still lacks, in words; none when it is complete."""
    lacking = []
    for one in needed:
        result = one.delegator.get_verification_result(one.role, metadata.signed_bytes, metadata.signatures)
        if not result.verified:
            ids = sorted(public_key(key).id for key in result.unsigned.values())
            lacking.append(f"{result.threshold - len(result.signed)} of the {one.words}: {', '.join(ids)}")
    return tuple(lacking)


def key_ids(delegator: Root | Targets, role: str) -> dict[Digest, str]:
    """The keys of a role: the project's id of each, and TUF's."""
    return {public_key(delegator.get_key(keyid)).id: keyid for keyid in delegator.get_delegated_role(role).keyids}


def check_new(before: Roles, new: Sequence[PublicKey]) -> None:
    """Demand that new keys differ, and sign nothing in the repository yet.

    Raises:
        UsageError: ``usage.key``.
    """
    known = {public_key(key).id for key in before.root.keys.values()} | {*key_ids(before.targets, "checkpoints")}
    ids = [key.id for key in new]
    for key in ids:
        if key in known or ids.count(key) > 1:
            raise UsageError("usage.key", "a new key is in use already", found=key, todo="Make another one.")


def _next(kind: type[RoleT], before: RoleT, expires: datetime, above: int = 0) -> RoleT:
    after = kind.from_dict(copy.deepcopy(before.to_dict()))
    after.version = max(before.version, above) + 1
    after.expires = expires
    if after.version > MAX_VERSION:
        raise UsageError("usage.arguments", "the version is too high", found=str(above))
    return after


def _replace(delegator: Root | Targets, role: str, wanted: Wanted) -> None:
    present = key_ids(delegator, role)
    going = list(wanted.old) or (list(present) if wanted.new else [])
    strangers = [key for key in going if key not in present]
    if strangers or len(going) != len(wanted.new):
        raise UsageError(
            "usage.arguments", f"not a replacement of keys of {role!r}",
            found=f"{len(wanted.new)} new ones for {', '.join(going) or 'none'}",
            expected=f"as many new ones as old ones among {', '.join(present)}",
        )  # fmt: skip
    for key in going:
        delegator.revoke_key(present[key], role)
    for new in wanted.new:
        delegator.add_key(tuf_key(new), role)


def tuf_key(key: PublicKey) -> Key:
    """A public key as python-tuf names it."""
    return SSlibKey.from_crypto(load_der_public_key(key.spki))


# -- what a proposal changes ------------------------------------------------------------------------------------------


def _differences(kind: Kind, before: Roles, proposal: Proposal, now: datetime) -> Iterator[str]:
    if proposal.root is not None:
        yield from _follows("root", before.root, proposal.root, ROOT_LIFE, now)
        roles = ROOT_ROLES[kind]
        for role in before.root.roles:
            changing = role in roles
            yield from _keys(role, before.root, proposal.root, changing=changing, growing=changing and role == "root")
        _same("root", before.root, proposal.root, "keys", "roles")
    if proposal.targets is not None:
        leap = kind == "targets"
        yield from _follows("targets", before.targets, proposal.targets, TARGETS_LIFE, now, leap=leap)
        yield from _keys("checkpoints", before.targets, proposal.targets, changing=kind == "checkpoints")
        _same("targets", before.targets, proposal.targets, "delegations", *(["targets"] if kind == "head" else []))
        _same_delegation(before.targets, proposal.targets)
        if kind == "head":
            _same_targets(before.targets, proposal.targets)
    if proposal.checkpoints is not None:
        yield from _follows("checkpoints", before.checkpoints, proposal.checkpoints, CHECKPOINTS_LIFE, now)
        _same("checkpoints", before.checkpoints, proposal.checkpoints)


def _follows(
    name: str, before: Root | Targets, after: Root | Targets, life: timedelta, now: datetime, *, leap: bool = False
) -> Iterator[str]:
    lowest = before.version + 1
    if after.version < lowest or (after.version > lowest and not leap) or after.expires <= now:
        raise Refused(
            "rotation.outdated", f"the new {name} does not follow the one in force",
            found=f"version {after.version}, until {after.expires:%Y-%m-%dT%H:%M:%SZ}", expected=f"version {lowest}",
        )  # fmt: skip
    if after.expires > now + life + SLACK:
        raise _unfounded(f"the new {name} lasts too long", f"{after.expires:%Y-%m-%d}", f"at most {life.days} days")
    yield f"{name} {before.version} becomes {after.version}, until {after.expires:%Y-%m-%dT%H:%M:%SZ}"


def _keys(
    role: str, before: Root | Targets, after: Root | Targets, *, changing: bool, growing: bool = False
) -> Iterator[str]:
    old, new = key_ids(before, role), key_ids(after, role)
    thresholds = [found.get_delegated_role(role).threshold for found in (before, after)]
    sizes = [len(found.get_delegated_role(role).keyids) for found in (before, after)]
    grown = sizes[0] <= sizes[1] <= KEYS_LIMIT and thresholds[0] <= thresholds[1] <= sizes[1]
    as_before = thresholds[0] == thresholds[1] and sizes[0] == sizes[1]
    if not (as_before or (growing and grown)) or len(new) != sizes[1]:
        raise _unfounded(
            f"another number of keys signs {role!r}", f"{thresholds[1]} of {len(new)}", f"{thresholds[0]} of {sizes[0]}"
        )
    if not as_before:
        yield f"  {role}: {thresholds[1]} of {sizes[1]} keys sign, in the place of {thresholds[0]} of {sizes[0]}"
    if old.keys() != new.keys() and not changing:
        raise _unfounded(f"the keys of {role!r} change", ", ".join(sorted(new.keys() - old.keys())), "the same keys")
    for key in sorted(old.keys() - new.keys()):
        yield f"  {role}: {key} leaves"
    for key in sorted(new.keys() - old.keys()):
        yield f"  {role}: {key} comes"


def _same(name: str, before: Root | Targets, after: Root | Targets, *but: str) -> None:
    """Everything else of a document stays as it is."""
    old, new = before.to_dict(), after.to_dict()
    for fields in (old, new):
        for field in ("version", "expires", *but):
            fields.pop(field, None)
    if old != new:
        raise _unfounded(f"the new {name} changes something else than keys", ascii(str(new))[:200])


def _same_delegation(before: Targets, after: Targets) -> None:
    found = []
    for targets in (before, after):
        delegations = targets.delegations
        roles = {} if delegations is None else delegations.to_dict()
        roles.pop("keys", None)
        roles["roles"] = [{k: v for k, v in role.items() if k != "keyids"} for role in roles.get("roles", ())]
        found.append(roles)
    if found[0] != found[1]:
        raise _unfounded("the new targets delegates something else", ascii(str(found[1]))[:200])


def _same_targets(before: Targets, after: Targets) -> None:
    old, new = ({path: file for path, file in t.targets.items() if path != POLICY} for t in (before, after))
    if old != new or POLICY not in after.targets:
        raise _unfounded("the new targets lists other files", ", ".join(map(ascii, after.targets))[:200])


def _check_separation(after: Roles) -> None:
    """No key has two jobs."""
    jobs: dict[str, str] = {}
    lists = [("root", key_ids(after.root, "root")), ("targets", key_ids(after.root, "targets"))]
    lists += [("online", key_ids(after.root, role) | {}) for role in ("snapshot", "timestamp")]
    lists += [("checkpoints", key_ids(after.targets, "checkpoints"))]
    for job, keys in lists:
        for key in keys:
            if jobs.setdefault(key, job) != job:
                raise _unfounded("one key would have two jobs", f"{key}: {jobs[key]} and {job}")
    named = {keyid for role in after.root.roles.values() for keyid in role.keyids}
    if named != set(after.root.keys):
        raise _unfounded("the new root holds keys that no role names", f"{len(after.root.keys)} keys")


def _unfounded(what: str, found: str, expected: str = "") -> Refused:
    return Refused("rotation.unfounded", what, found=found, expected=expected)
