"""What is not signed: a rotation that changes more than it says, and keys that have no say in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crl_server.trust.rotation_dossier import RotationDossier
from crl_server.trust.rotation_review import review, sign
from crl_server.trust.rotations import Kind, Wanted
from crl_server.trust.signing import SigningKey
from loadlock.testing.documents import sha256
from tests.crl_server.deployments import ACTOR, digest
from tests.crl_server.rotated import REPLACED, SIGNERS, World, world
from verifier.errors import LoadlockError


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One deployment for all of it: nothing is put in force here."""
    with world(tmp_path_factory.mktemp("review")) as made:
        yield made


def laid_out(acme: World, kind: Kind) -> RotationDossier:
    """A rotation's dossier of this test's own."""
    if kind not in LAID_OUT:
        LAID_OUT[kind] = acme.prepared(kind, *REPLACED[kind])[0]
    directory = acme.fresh("copy")
    shutil.copytree(LAID_OUT[kind].directory, directory)
    return RotationDossier(directory)


LAID_OUT: dict[Kind, RotationDossier] = {}


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(LoadlockError) as caught:
        call()
    return caught.value.code


def edited(name: str, change: Callable[[Any], None]) -> Callable[[RotationDossier], None]:
    """A change to a document that is to be signed."""

    def edit(dossier: RotationDossier) -> None:
        path = dossier.directory / f"{name}.json"
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return edit


STRANGER = SigningKey.generate()


def with_stranger(role: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        key = STRANGER.tuf.public_key
        signed = document["signed"]
        holder = signed if role in signed.get("roles", {}) else signed["delegations"]
        roles = holder["roles"]
        found = roles[role] if isinstance(roles, dict) else roles[0]
        holder["keys"][key.keyid] = key.to_dict()
        found["keyids"][0] = key.keyid
        used = {k for r in (roles.values() if isinstance(roles, dict) else roles) for k in r["keyids"]}
        holder["keys"] = {k: v for k, v in holder["keys"].items() if k in used}

    return change


def signed_field(name: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        document["signed"][name] = value

    return change


def threshold(role: str, value: int) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        document["signed"]["roles"][role]["threshold"] = value

    return change


def one_checkpoint_signer(document: Any) -> None:
    document["signed"]["delegations"]["roles"][0]["threshold"] = 1


def wider_delegation(document: Any) -> None:
    document["signed"]["delegations"]["roles"][0]["paths"] = ["*"]


def another_policy(document: Any) -> None:
    document["signed"]["targets"]["policy.json"]["hashes"]["sha256"] = "0" * 64


def more_keys(document: Any) -> None:
    key = STRANGER.tuf.public_key
    document["signed"]["keys"][key.keyid] = key.to_dict()
    document["signed"]["roles"]["root"]["keyids"].append(key.keyid)


def fewer_keys(document: Any) -> None:
    roles = document["signed"]["roles"]
    del document["signed"]["keys"][roles["root"]["keyids"].pop()]


def idle_key(document: Any) -> None:
    key = STRANGER.tuf.public_key
    document["signed"]["keys"][key.keyid] = key.to_dict()


@pytest.mark.parametrize(
    ("kind", "name", "change", "code"),
    [
        ("root", "root", threshold("root", 1), "rotation.unfounded"),
        ("root", "root", with_stranger("targets"), "rotation.unfounded"),
        ("root", "root", with_stranger("timestamp"), "rotation.unfounded"),
        ("root", "root", fewer_keys, "rotation.unfounded"),
        ("root", "root", threshold("root", 3), "rotation.unfounded"),
        ("root", "root", threshold("targets", 2), "rotation.unfounded"),
        ("targets", "root", more_keys, "rotation.unfounded"),
        ("online", "root", more_keys, "rotation.unfounded"),
        ("root", "root", idle_key, "rotation.unfounded"),
        ("root", "root", signed_field("version", 1), "rotation.outdated"),
        ("root", "root", signed_field("version", 9), "rotation.outdated"),
        ("root", "root", signed_field("version", "2"), "rotation.unfounded"),
        ("root", "root", signed_field("consistent_snapshot", False), "rotation.unfounded"),
        ("root", "root", signed_field("expires", "2020-01-01T00:00:00Z"), "rotation.outdated"),
        ("root", "root", signed_field("expires", "2099-01-01T00:00:00Z"), "rotation.unfounded"),
        ("root", "root", signed_field("new", 1), "rotation.unfounded"),
        ("online", "root", with_stranger("root"), "rotation.unfounded"),
        ("online", "root", with_stranger("targets"), "rotation.unfounded"),
        ("targets", "root", with_stranger("root"), "rotation.unfounded"),
        ("targets", "targets", another_policy, "rotation.unfounded"),
        ("targets", "targets", with_stranger("checkpoints"), "rotation.unfounded"),
        ("targets", "targets", signed_field("version", 1), "rotation.outdated"),
        ("checkpoints", "targets", one_checkpoint_signer, "rotation.unfounded"),
        ("checkpoints", "targets", wider_delegation, "rotation.unfounded"),
        ("checkpoints", "targets", another_policy, "rotation.unfounded"),
        ("checkpoints", "targets", signed_field("version", 7), "rotation.outdated"),
        ("checkpoints", "checkpoints", signed_field("targets", {}), "rotation.unfounded"),
        ("head", "targets", another_policy, "rotation.unfounded"),
        ("head", "targets", with_stranger("checkpoints"), "rotation.unfounded"),
        ("head", "targets", signed_field("targets", {}), "rotation.unfounded"),
    ],
)
def test_what_a_hostile_server_slips_in_is_not_signed(
    acme: World, kind: Kind, name: str, change: Callable[[Any], None], code: str
) -> None:
    dossier = laid_out(acme, kind)
    edited(name, change)(dossier)
    assert code_of(lambda: review(dossier, acme.root, acme.now)) == code


def policy_field(name: str, value: Any) -> Callable[[RotationDossier], None]:
    """A policy that says something else, listed as it is."""

    def edit(dossier: RotationDossier) -> None:
        path = dossier.directory / "policy.json"
        policy = json.loads(path.read_bytes())
        policy[name] = value
        data = json.dumps(policy).encode()
        path.write_bytes(data)
        listed = {"length": len(data), "hashes": {"sha256": sha256(data)}}
        edited("targets", lambda document: document["signed"]["targets"].update({"policy.json": listed}))(dossier)

    return edit


@pytest.mark.parametrize(
    "change",
    [policy_field("version", 7), policy_field("host_api", "2.0"), policy_field("profile", "production")],
)
def test_a_new_head_key_brings_no_other_policy_along(acme: World, change: Callable[[RotationDossier], None]) -> None:
    dossier = laid_out(acme, "head")
    change(dossier)
    assert code_of(lambda: review(dossier, acme.root, acme.now)) == "rotation.unfounded"


def test_a_policy_that_was_edited_and_not_signed_is_not_signed_along(acme: World) -> None:
    path = acme.authority.layout.policy
    text = path.read_text()
    path.write_text(text.replace('host_api = "1.0"', 'host_api = "2.0"'))
    dossier, _ = acme.prepared("head")
    path.write_text(text)
    assert code_of(lambda: review(dossier, acme.root, acme.now)) == "rotation.unfounded"


def test_another_deployments_dossier_is_not_signed(acme: World) -> None:
    dossier = laid_out(acme, "root")
    assert code_of(lambda: review(dossier, digest("another root"), acme.now)) == "rotation.unfounded"


def test_documents_of_another_rotation_are_refused(acme: World) -> None:
    root, checkpoints = laid_out(acme, "root"), laid_out(acme, "checkpoints")
    shutil.copyfile(checkpoints.directory / "targets.json", root.directory / "targets.json")
    assert code_of(lambda: review(root, acme.root, acme.now)) == "rotation.unfounded"


@pytest.mark.parametrize("name", ["rotation", "root"])
@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"signed":{},"signatures":[]}'])
def test_a_damaged_dossier_is_refused(acme: World, name: str, data: bytes) -> None:
    dossier = laid_out(acme, "root")
    (dossier.directory / f"{name}.json").write_bytes(data)
    code = code_of(lambda: review(dossier, acme.root, acme.now))
    assert code.startswith(("format.", "rotation."))


@pytest.mark.parametrize("kind", SIGNERS)
def test_a_key_that_has_no_say_signs_nothing(acme: World, kind: Kind) -> None:
    dossier = laid_out(acme, kind)
    assert code_of(lambda: sign(dossier, SigningKey.generate())) == "usage.key"


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("root", lambda acme: Wanted([SigningKey.generate().public])),
        ("root", lambda acme: Wanted([], [acme.keys["root-1"].public.id])),
        ("root", lambda acme: Wanted([SigningKey.generate().public], [acme.keys["targets"].public.id])),
        ("root", lambda acme: Wanted(above=7)),
        ("online", lambda acme: Wanted([SigningKey.generate().public])),
        ("head", lambda acme: Wanted([SigningKey.generate().public])),
        ("checkpoints", lambda acme: Wanted([SigningKey.generate().public])),
        ("targets", lambda acme: Wanted(above=2**31)),
    ],
)
def test_a_rotation_that_makes_no_sense_is_not_laid_out(
    acme: World, kind: Kind, wanted: Callable[[World], Wanted]
) -> None:
    prepare = acme.authority.rotations.prepare
    assert code_of(lambda: prepare(kind, wanted(acme), acme.fresh("x"), ACTOR, acme.now)) == "usage.arguments"


@pytest.mark.parametrize("name", ["root-1", "root-2", "targets", "checkpoint-1"])
def test_a_key_is_not_given_a_second_job(acme: World, name: str) -> None:
    wanted = Wanted([acme.keys[name].public], [acme.keys["root-1"].public.id])
    prepare = acme.authority.rotations.prepare
    assert code_of(lambda: prepare("root", wanted, acme.fresh("x"), ACTOR, acme.now)) == "usage.key"
