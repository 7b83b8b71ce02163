"""The TUF part of trust: stored metadata, verified again from the pinned root without network and without a clock.

The chain of The Update Framework's client workflow (specification 1.0, section 5.3 to 5.7), in this order:

1. names and sizes: a closed set of names, each under its cap
2. roots: from the pinned one upwards, version by version, each by its predecessor's threshold and its own
3. timestamp, by the last root
4. snapshot, as the timestamp lists it
5. targets, as the snapshot lists it, by the last root
6. checkpoints, as the snapshot lists it, by the keys to which ``targets`` delegates
7. the files, as ``targets`` and ``checkpoints`` list them; ``targets`` lists no trusted root that is not there

python-tuf counts signatures and compares what is listed; decision record 0003 lists what it leaves to its caller, and
what is therefore checked here. Expiry is reported and not judged: it governs refreshing, not loading.

This module imports tuf and is imported only when trust is verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key
from tuf.api.metadata import (
    DelegatedRole,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from verifier.deployment.chain import CHECKPOINT, POLICY, Chain, RoleFacts, trusted_root_name
from verifier.errors import LoadlockError, Refused
from verifier.formats import strict_json
from verifier.signatures.keys import PublicKey

SignedT = TypeVar("SignedT", Root, Timestamp, Snapshot, Targets)

ROOT_LIMIT = 512_000
"""Size cap of one root, in bytes."""
TIMESTAMP_LIMIT = 16_384
"""Size cap of the timestamp, in bytes."""
SNAPSHOT_LIMIT = 65_536
"""Size cap of the snapshot, in bytes."""
TARGETS_LIMIT = 512_000
"""Size cap of ``targets`` and of ``checkpoints``, in bytes."""
FILE_LIMIT = 16 * 1024 * 1024
"""Size cap of a target file, in bytes, before its own format's cap applies."""
ROOTS_LIMIT = 256
"""How many roots may follow the pinned one."""
KEYS_LIMIT = 32
"""How many keys a role may have: each may cost a signature check."""
TRUSTED_ROOT_LIMIT = 1024 * 1024
"""Size cap of a Sigstore trusted root, in bytes."""
CHECKPOINT_SIGNERS = 2
"""How many different keys must sign a checkpoint, whatever the delegation says."""

ROLE_LIMITS: Mapping[str, int] = {
    "timestamp": TIMESTAMP_LIMIT,
    "snapshot": SNAPSHOT_LIMIT,
    "targets": TARGETS_LIMIT,
    "checkpoints": TARGETS_LIMIT,
}
"""The roles that a host stores beside the roots, each as ``<role>.json``."""

_ROOT_NAME = re.compile(r"([1-9][0-9]{0,8})\.root\.json")
_KEY_KINDS = {("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")}


class RootKeys(NamedTuple):
    """A root's version, who may sign for it, and how many of them have to."""

    version: int
    keys: tuple[PublicKey, ...]
    threshold: int


class _Flaw(Exception):
    """Why a document is not accepted, in words; becomes the ``found`` of a refusal."""


def root_version(name: str) -> int | None:
    """The version in a name such as ``3.root.json``; None when it is the name of something else."""
    match = _ROOT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def root_keys(root: bytes) -> RootKeys:
    """Version, keys and threshold of the root role, from a root that is signed by them.

    Raises:
        Refused: ``trust.root``.
    """
    verified = _pinned(root)
    role = verified.roles[Root.type]
    keys = tuple(public_key(verified.get_key(keyid)) for keyid in role.keyids)
    return RootKeys(verified.version, keys, role.threshold)


def verify_chain(pinned_root: bytes, metadata: Mapping[str, bytes], files: Mapping[str, bytes]) -> Chain:
    """Verify the whole chain; the numbers are those of the module's docstring.

    Args:
        pinned_root: the root this host was enrolled with.
        metadata: ``N.root.json`` for every N above the pinned one, ``timestamp.json``, ``snapshot.json``,
            ``targets.json`` and ``checkpoints.json``.
        files: ``policy.json``, ``checkpoints/checkpoint.json``, and every ``trusted_root.<name>.json`` that is listed.

    Raises:
        Refused: ``trust.root`` for the roots, ``trust.metadata`` for everything below them.
    """
    _check_names(metadata, files)  # (1)
    root = _last_root(_pinned(pinned_root), metadata)  # (2)
    timestamp = _load(Timestamp, "timestamp", metadata, root)  # (3)
    snapshot = _load(Snapshot, "snapshot", metadata, root, timestamp.snapshot_meta)  # (4)
    targets = _load(Targets, "targets", metadata, root, _listed(snapshot, "targets"))  # (5)
    delegation = _delegation(targets)
    checkpoints = _load(Targets, "checkpoints", metadata, targets, _listed(snapshot, "checkpoints"))  # (6)
    _check_separation(root, targets, delegation)
    listed = {path for path in targets.targets if trusted_root_name(path)}
    for path in {*files, *listed}:  # (7)
        role = checkpoints if path == CHECKPOINT else targets
        with _refusing("trust.metadata", ascii(path[:100])):
            if path not in files:
                raise _Flaw("targets.json lists it, and it is not here")
            _match(role.targets.get(path), files[path])
    roles: dict[str, Signed] = {
        "root": root,
        "timestamp": timestamp,
        "snapshot": snapshot,
        "targets": targets,
        "checkpoints": checkpoints,
    }
    facts = {name: RoleFacts(signed.version, signed.expires) for name, signed in roles.items()}
    return Chain.of(facts, files)


# -- (1) names and sizes ----------------------------------------------------------------------------------------------


def _check_names(metadata: Mapping[str, bytes], files: Mapping[str, bytes]) -> None:
    roles = {f"{role}.json": limit for role, limit in ROLE_LIMITS.items()}
    for name, data in metadata.items():
        limit = ROOT_LIMIT if root_version(name) else roles.get(name)
        if limit is None:
            raise Refused("trust.metadata", "trust metadata holds a file of unknown name", found=repr(name[:80]))
        _check_size(name, data, limit)
    for path, data in files.items():
        trusted = trusted_root_name(path) is not None
        if path not in (POLICY, CHECKPOINT) and not trusted:
            raise Refused("trust.metadata", "trust holds a target of unknown name", found=repr(path[:80]))
        _check_size(path, data, TRUSTED_ROOT_LIMIT if trusted else FILE_LIMIT)
    missing = sorted(({*roles} - {*metadata}) | ({POLICY, CHECKPOINT} - {*files}))
    if missing:
        raise Refused("trust.metadata", "trust metadata is incomplete", found=f"no {', '.join(missing)}")


def _check_size(name: str, data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise Refused(
            "trust.metadata", f"{name} is too large", found=f"{len(data)} bytes", expected=f"at most {limit} bytes"
        )


# -- (2) roots --------------------------------------------------------------------------------------------------------


def _pinned(data: bytes) -> Root:
    with _refusing("trust.root", "the pinned root"):
        metadata = _parse(Root, data, ROOT_LIMIT, "the pinned root")
        _check_signatures(metadata.signed, Root.type, metadata)
    return metadata.signed


def _last_root(root: Root, metadata: Mapping[str, bytes]) -> Root:
    versions = sorted(version for name in metadata if (version := root_version(name)) is not None)
    expected = list(range(root.version + 1, root.version + 1 + len(versions)))
    if versions != expected or len(versions) > ROOTS_LIMIT:
        raise Refused(
            "trust.root",
            "the chain of roots has a gap, a stranger or no end",
            found=f"{len(versions)} roots from {versions[0]} to {versions[-1]}",
            expected=f"each version from {root.version + 1} on, at most {ROOTS_LIMIT}",
        )
    for version in versions:
        name = f"{version}.root.json"
        with _refusing("trust.root", name):
            following = _parse(Root, metadata[name], ROOT_LIMIT, name)
            if following.signed.version != version:
                raise _Flaw(f"it states version {following.signed.version}")
            _check_signatures(root, Root.type, following)
            _check_signatures(following.signed, Root.type, following)
            root = following.signed
    return root


# -- (3) to (6) roles -------------------------------------------------------------------------------------------------


def _load(
    kind: type[SignedT],
    role: str,
    metadata: Mapping[str, bytes],
    delegator: Root | Targets,
    listed: MetaFile | None = None,
) -> SignedT:
    name = f"{role}.json"
    data = metadata[name]
    with _refusing("trust.metadata", name):
        if kind is not Timestamp:  # the one role that no other role lists
            _match(listed, data)
        loaded = _parse(kind, data, ROLE_LIMITS[role], name)
        _check_signatures(delegator, role, loaded)
        if listed is not None and loaded.signed.version != listed.version:
            raise _Flaw(f"it states version {loaded.signed.version}, and {listed.version} is listed")
    return loaded.signed


def _parse(kind: type[SignedT], data: bytes, limit: int, what: str) -> Metadata[SignedT]:
    document = strict_json.loads(data, limit=limit, what=what)
    written = encode_canonical(document["signed"])
    metadata = Metadata[SignedT].from_dict(document)  # consumes the document
    if type(metadata.signed) is not kind:
        raise _Flaw(f"it is metadata of type {metadata.signed.type!r}")
    if type(metadata.signed.version) is not int:  # python-tuf takes True and "2" as they come
        raise _Flaw("its version is not an integer")
    if metadata.signed_bytes.decode() != written:  # python-tuf reads null as a default, and the signature covers that
        raise _Flaw("what it says and what was signed differ")
    return metadata


def _check_signatures(delegator: Root | Targets, role: str, metadata: Metadata[SignedT]) -> None:
    # python-tuf counts key ids. A key that stands under two ids would count twice.
    _distinct_keys(delegator, delegator.get_delegated_role(role))
    delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)


def _match(listed: MetaFile | TargetFile | None, data: bytes) -> None:
    if listed is None:
        raise _Flaw("the role above it does not list it")
    if listed.length is None or "sha256" not in (listed.hashes or {}):
        raise _Flaw("the role above it does not state its length and sha256")
    listed.verify_length_and_hashes(data)


def _listed(snapshot: Snapshot, role: str) -> MetaFile | None:
    return snapshot.meta.get(f"{role}.json")


# -- delegation and separation ----------------------------------------------------------------------------------------


def _delegation(targets: Targets) -> DelegatedRole:
    with _refusing("trust.metadata", "the delegation to 'checkpoints'"):
        roles = (targets.delegations.roles if targets.delegations else None) or {}
        role = roles.get("checkpoints")
        if role is None:
            raise _Flaw("targets.json does not delegate to 'checkpoints'")
        if not role.is_delegated_path(CHECKPOINT):
            raise _Flaw(f"it does not cover {CHECKPOINT}")
        if CHECKPOINT in targets.targets:  # the targets key alone would decide what is revoked
            raise _Flaw(f"targets.json lists {CHECKPOINT} itself")
        if role.threshold < CHECKPOINT_SIGNERS:
            raise _Flaw(f"its threshold is {role.threshold}, and {CHECKPOINT_SIGNERS} signers are needed")
    return role


def _check_separation(root: Root, targets: Targets, delegation: DelegatedRole) -> None:
    """No online key may sign for a role that is kept offline: a stolen server must not be able to name signers."""
    with _refusing("trust.root", "the separation of online and offline keys"):
        online = {key for role in ("timestamp", "snapshot") for key in _distinct_keys(root, root.roles[role])}
        offline = {key for role in ("root", "targets") for key in _distinct_keys(root, root.roles[role])}
        offline |= _distinct_keys(targets, delegation)
        shared = online & offline
        if shared:
            raise _Flaw(f"{sorted(shared)[0]} signs online and offline roles")


def _distinct_keys(delegator: Root | Targets, role: Role) -> set[str]:
    if len(role.keyids) > KEYS_LIMIT:
        raise _Flaw(f"it names {len(role.keyids)} keys, more than {KEYS_LIMIT}")
    ids = [public_key(delegator.get_key(keyid)).id for keyid in role.keyids]
    if len(set(ids)) != len(ids):
        raise _Flaw("one key stands under several key ids")
    return set(ids)


def public_key(key: Key) -> PublicKey:
    """A key of TUF metadata as the project's own; of the two kinds that are taken.

    Raises:
        Refused: ``usage.key``.
        ValueError, KeyError, AttributeError: its value is malformed.
    """
    if (key.keytype, key.scheme) not in _KEY_KINDS:
        raise Refused("usage.key", "a key is of unknown kind", found=f"{key.keytype!r}, {key.scheme!r}")
    public = key.keyval["public"]
    if key.keytype == "ecdsa":
        return PublicKey.from_pem(public.encode("ascii"))
    return PublicKey(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))


# -- the boundary -----------------------------------------------------------------------------------------------------


@contextmanager
def _refusing(code: str, subject: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into one refusal: python-tuf raises a dozen kinds on hostile documents."""
    try:
        yield
    except LoadlockError as error:
        raise Refused(code, f"{subject} does not verify", found=f"{error.what}: {error.found}") from error
    except Exception as error:
        words = str(error) if isinstance(error, _Flaw) else f"{type(error).__name__}: {error}"
        printable = "".join(character if character.isprintable() else "?" for character in words[:300])
        raise Refused(code, f"{subject} does not verify", found=printable) from error
