"""Rotation of every key of a deployment: honest hosts follow however long they slept, thieves are shut out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

import crl_server.lists.public_tree
import crl_server.trust.rotating
from crl_server.service import Authority
from crl_server.trust.rotation_dossier import RotationDossier
from crl_server.trust.rotation_review import review, sign
from crl_server.trust.rotations import Kind, Wanted
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import ACTOR, digest, revoke
from tests.crl_server.rotated import REPLACED, SIGNERS, Host, World, world
from tests.crl_server.takebacks import checkpoint
from tests.crl_server.test_cli import refused, run
from tests.hosts import code_of
from verifier.errors import LoadlockError, Unreachable
from verifier.files import write_atomic
from verifier.formats.text import Digest

pytestmark = pytest.mark.usefixtures("engine")

ROTATED: tuple[Kind, ...] = ("root", "targets", "checkpoints", "online", "head")


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def public_files(world: World) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in world.authority.layout.public.rglob("*") if path.is_file()}


def copied(world: World, dossier: RotationDossier) -> RotationDossier:
    directory = world.fresh("copy")
    shutil.copytree(dossier.directory, directory)
    return RotationDossier(directory)


def open_files() -> set[str]:
    links = list(Path("/proc/self/fd").iterdir())
    return {os.readlink(link) for link in links if link.is_symlink()}


# -- what must not pass ------------------------------------------------------------------------------------------------


def test_a_deployment_with_a_damaged_journal_is_refused_and_its_database_closed(acme: World) -> None:
    layout = acme.authority.layout
    acme.authority.close()
    layout.journal.write_bytes(b"{")
    with pytest.raises(LoadlockError) as caught:
        Authority(layout.root)
    assert caught.value.code == "format.syntax"
    assert str(layout.database) not in open_files()


@pytest.mark.parametrize("kind", SIGNERS)
def test_when_one_of_those_who_have_to_sign_did_not_nothing_changes(acme: World, kind: Kind) -> None:
    dossier, new = acme.prepared(kind, *REPLACED[kind])
    before = public_files(acme)
    # Of the old checkpoint keys, the one that stays signs: with the new one they are two.
    holders = [acme.keys[name] for name in SIGNERS[kind] if (kind, name) != ("checkpoints", "checkpoint-2")]
    for left_out in (signers := [*holders, *new.values()]):
        again = copied(acme, dossier)
        for key in signers:
            if key is not left_out:
                sign(again, key)
        assert not review(again, acme.root, acme.now).complete
        assert code_of(lambda: acme.authority.publish_rotation(again, ACTOR, acme.now)) == "rotation.signatures"  # noqa: B023
    assert public_files(acme) == before


def test_of_two_rotations_of_one_trust_only_the_first_is_put_in_force(acme: World) -> None:
    first, new = acme.prepared("root", "root-1")
    second, others = acme.prepared("root", "root-2")
    acme.sign(first, acme.keys["root-1"], acme.keys["root-2"], *new.values())
    acme.sign(second, acme.keys["root-1"], acme.keys["root-2"], *others.values())
    acme.authority.publish_rotation(first, ACTOR, acme.now)
    assert code_of(lambda: acme.authority.publish_rotation(second, ACTOR, acme.now)) == "rotation.outdated"
    assert acme.host("a").sync().trust.root_version == 2


# -- hosts follow ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ROTATED)
def test_hosts_follow_a_rotation(acme: World, kind: Kind) -> None:
    revoke(acme.authority, "before", now=acme.now)
    current = acme.host("current")
    current.sync()
    done = acme.rotate(kind, *REPLACED[kind])
    assert done.complete
    revoke(acme.authority, "after", now=acme.now)
    for host in (current, acme.host("fresh")):
        found = host.sync()
        assert [found.revocations.lists(digest(label)) for label in ("before", "after")] == [True, True]
        assert found.trust.root_version == (2 if "root" in done.missing else 1)
    acme.authority.verify_audit(acme.now)


@pytest.mark.parametrize("kind", ROTATED)
def test_after_a_rotation_everything_else_goes_on(acme: World, kind: Kind) -> None:
    acme.rotate(kind, *REPLACED[kind])
    for name, key in acme.keys.items():
        (acme.authority.layout.offline / f"{name}.pem").unlink()
        key.write(acme.authority.layout.offline / f"{name}.pem")
    acme.authority.reconcile(acme.now)
    revoke(acme.authority, "more", now=acme.now)
    shutil.move(acme.authority.layout.offline / "root-1.pem", acme.fresh("away"))
    acme.authority.office().sign_policy(acme.authority.layout.policy.read_text(), ACTOR, acme.now)
    checkpoint(acme.authority, acme.fresh("checkpoint"), acme.now)
    assert acme.authority.repository.renew(acme.online_key, acme.now + timedelta(hours=20))
    found = acme.host("fresh").sync()
    assert (found.revocations.head.epoch, found.revocations.lists(digest("more"))) == (2, True)


def test_a_host_that_slept_through_all_of_it_follows(acme: World) -> None:
    revoke(acme.authority, "early", now=acme.now)
    sleeper = acme.host("sleeper")
    sleeper.sync()
    for kind in ROTATED * 2:
        acme.rotate(kind, *REPLACED[kind])
    checkpoint_keys = {name: acme.keys[name] for name in ("checkpoint-1", "checkpoint-2")}
    for name, key in checkpoint_keys.items():
        (acme.authority.layout.offline / f"{name}.pem").unlink()
        key.write(acme.authority.layout.offline / f"{name}.pem")
    checkpoint(acme.authority, acme.fresh("checkpoint"), acme.now)
    revoke(acme.authority, "late", now=acme.now)
    for host in (sleeper, acme.host("fresh")):
        found = host.sync()
        assert found.trust.root_version == 7
        assert [found.revocations.lists(digest(label)) for label in ("early", "late")] == [True, True]


def test_new_keys_for_every_holder_at_once(acme: World) -> None:
    host = acme.host("a")
    host.sync()
    acme.rotate("root", "root-1", "root-2")
    acme.rotate("checkpoints", "checkpoint-1", "checkpoint-2", by=("targets",))
    acme.rotate("root", "root-1", "root-2")
    assert host.sync().trust.root_version == 3


@pytest.mark.parametrize(
    ("kind", "by"), [("root", ("root-1", "root-2")), ("checkpoints", ("targets", "checkpoint-1", "checkpoint-2"))]
)
def test_what_expires_is_renewed_without_new_keys(acme: World, kind: Kind, by: tuple[str, ...]) -> None:
    before = acme.authority.repository.trust()
    later = acme.now + timedelta(days=20)
    dossier = RotationDossier(acme.fresh("renewal"))
    acme.authority.publisher.publish(acme.now)
    acme.authority.rotations.prepare(kind, Wanted(), dossier.directory, ACTOR, later)
    for name in by:
        review(dossier, acme.root, later)
        sign(dossier, acme.keys[name])
    acme.authority.rotations.publish(dossier, ACTOR, later)
    after = acme.authority.repository.trust()
    assert after.roles[kind].expires == before.roles[kind].expires + timedelta(days=20)
    assert after.roles[kind].version == 2


def test_new_hosts_enrol_with_the_root_of_today(acme: World) -> None:
    acme.rotate("root", "root-1", "root-2")
    assert acme.host("with-the-old-bundle").sync().trust.root_version == 2
    done = acme.rotate("enrolment")
    fingerprint = next(line for line in done.words if "fingerprint" in line).split()[-1]
    late = Host(acme, acme.directory / "late", Digest(fingerprint))
    assert late.sync().trust.root_version == 2
    assert late.home.host.floor.root == 2
    assert code_of(lambda: acme.host("with-the-old-fingerprint")) == "trust.root"


def test_signing_the_policy_with_old_root_keys_beside_leaves_the_bundle_alone(acme: World) -> None:
    bundle = acme.authority.layout.enrolment.read_bytes()
    acme.rotate("root", "root-1")
    done = acme.authority.office().sign_policy(acme.authority.layout.policy.read_text(), ACTOR, acme.now)
    assert (done.enrolment, acme.authority.layout.enrolment.read_bytes()) == (False, bundle)


# -- crashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["targets", "online", "head", "checkpoints"])
def test_a_crash_at_any_write_is_mended_at_the_next_start(
    acme: World, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = acme.host("a")
    before = host.sync().trust
    dossier, new = acme.prepared(kind, *REPLACED[kind])
    signers = [acme.keys[name] for name in SIGNERS[kind] if kind != "checkpoints" or name not in new]
    acme.sign(dossier, *signers, *new.values())
    limit, writes = [0], [0]

    def failing(path: Path, data: bytes, mode: int = 0o644) -> None:
        writes[0] += 1
        if writes[0] > limit[0]:
            raise Unreachable("io.failed", "the disk is full")
        write_atomic(path, data, mode)

    def failing_too(files: Mapping[Path, bytes], mode: int = 0o644) -> None:
        for path, data in files.items():
            failing(path, data, mode)

    while True:
        writes[0] = 0
        with monkeypatch.context() as patched:
            patched.setattr(crl_server.trust.rotating, "write_atomic", failing)
            patched.setattr(crl_server.lists.public_tree, "write_together", failing_too)
            begun = acme.authority.layout.journal.exists()
            try:
                if begun:
                    acme.authority.rotations.resume()
                else:
                    acme.authority.publish_rotation(dossier, ACTOR, acme.now)
            except Unreachable:
                limit[0] += 1
                continue
        break
    assert limit[0] > 2
    again = Authority(acme.authority.layout.root)
    again.reconcile(acme.now)
    again.close()
    assert not acme.authority.layout.journal.exists()
    after = host.sync().trust
    assert after.targets_version + after.root_version > before.targets_version + before.root_version
    revoke(acme.authority, "after", now=acme.now)
    assert host.sync().revocations.lists(digest("after"))


def test_a_dry_run_changes_nothing(acme: World) -> None:
    layout = acme.authority.layout

    def everything() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in (*layout.online.iterdir(), *layout.public.rglob("*")) if p.is_file()}

    before, state = everything(), acme.authority.verify_audit(acme.now)
    for kind in ROTATED:
        done = acme.authority.rotations.prepare(kind, Wanted(), acme.fresh("dry"), ACTOR, acme.now, dry_run=True)
        assert done.words
        assert not done.directory.exists()
    assert (everything(), acme.authority.verify_audit(acme.now)) == (before, state)
    dossier, new = acme.prepared("root", "root-1")
    acme.sign(dossier, acme.keys["root-1"], acme.keys["root-2"], *new.values())
    files = public_files(acme)
    assert acme.authority.publish_rotation(dossier, ACTOR, acme.now, dry_run=True).complete
    assert public_files(acme) == files


def test_the_commands(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    host = acme.host("a")
    host.sync()
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(acme.authority.layout.root))
    shown = run("trust", "keys")
    assert (shown["first_root"], {row["role"]: len(row["keys"]) for row in shown["roles"]}) == (
        acme.root, {"root": 2, "targets": 1, "checkpoints": 2, "online": 1, "head": 1},
    )  # fmt: skip
    new, place = SigningKey.generate(), acme.fresh("rotation")
    words = ("trust", "rotate", "root", place, "--new", acme.public_file(new), "--old", acme.keys["root-1"].public.id)
    assert run(*words, "--dry-run")["directory"] is None
    assert not place.exists()
    laid_out = run(*words)
    assert [len(lines) for lines in laid_out["missing"].values()] == [2]
    new_file = acme.fresh("new")
    new.write(new_file)
    assert run("trust", "sign", place, "--root", acme.root)["signed"] == []
    for file in (acme.key_file("root-1"), acme.key_file("root-2"), new_file):
        assert refused("trust", "publish", place).code == "rotation.signatures"
        signed = run("trust", "sign", place, "--root", acme.root, "--key", file)
    assert (signed["signed"], signed["complete"]) == (["root"], True)
    assert run("trust", "publish", place, "--dry-run")["published"] is False
    assert run("trust", "publish", place)["root"] == 2
    assert refused("trust", "publish", place).code == "rotation.outdated"
    assert new.public.id in next(row["keys"] for row in run("trust", "keys")["roles"] if row["role"] == "root")
    assert host.sync().trust.root_version == 2


# -- more root keys ----------------------------------------------------------------------------------------------------


def grown(acme: World, names: tuple[str, ...], by: tuple[str, ...], *, threshold: int = 0) -> tuple[str, ...]:
    """Add root keys of these names, and put the root in force; returns what its signers were shown."""
    new = {name: SigningKey.generate() for name in names}
    directory = acme.fresh("grown")
    wanted = Wanted(added=[key.public for key in new.values()], threshold=threshold)
    acme.authority.rotations.prepare("root", wanted, directory, ACTOR, acme.now)
    dossier = RotationDossier(directory)
    acme.keys |= new
    acme.sign(dossier, *(acme.keys[name] for name in by))
    return acme.authority.publish_rotation(dossier, ACTOR, acme.now).words


def test_root_keys_may_grow_and_one_of_them_be_lost_then(acme: World) -> None:
    old, host = acme.host("old"), acme.host("host")
    old.sync()
    words = grown(acme, ("root-3",), ("root-1", "root-2"))
    assert "  root: 2 of 3 keys sign, in the place of 2 of 2" in words
    assert f"  root: {acme.keys['root-3'].public.id} comes" in words
    host.sync()
    del acme.keys["root-1"]  # lost; the two others sign on
    acme.rotate("online", by=("root-2", "root-3"))
    revoke(acme.authority, "after", now=acme.now)
    for one in (old, host, acme.host("new")):
        found = one.sync()
        assert found.trust.root_version == 3
        assert found.revocations.lists(digest("after"))


def test_more_root_keys_may_have_to_sign_and_never_fewer(acme: World) -> None:
    host = acme.host("host")
    host.sync()
    three = ("root-1", "root-2", "root-3")
    words = grown(acme, ("root-3",), three, threshold=3)
    assert "  root: 3 of 3 keys sign, in the place of 2 of 2" in words
    assert code_of(lambda: acme.rotate("online", by=("root-1", "root-2"))) == "rotation.signatures"
    acme.rotate("online", by=three)
    assert host.sync().trust.root_version == 3
    for threshold in (1, 2, 4):
        wanted = Wanted(threshold=threshold)
        assert code_of(
            lambda wanted=wanted: acme.authority.rotations.prepare("root", wanted, acme.fresh("r"), ACTOR, acme.now)  # type: ignore[misc]
        ) == "rotation.unfounded"  # fmt: skip


def test_a_higher_threshold_needs_the_new_keys_too(acme: World) -> None:
    before = public_files(acme)
    assert code_of(lambda: grown(acme, ("root-3",), ("root-1", "root-2"), threshold=3)) == "rotation.signatures"
    assert code_of(lambda: grown(acme, ("root-4",), ("root-1", "root-4"))) == "rotation.signatures"
    assert public_files(acme) == before


@pytest.mark.parametrize("kind", ["targets", "checkpoints", "online", "head", "enrolment"])
@pytest.mark.parametrize("wanted", [Wanted(added=[SigningKey.generate().public]), Wanted(threshold=3)])
def test_no_other_role_grows(acme: World, kind: Kind, wanted: Wanted) -> None:
    prepare = acme.authority.rotations.prepare
    assert code_of(lambda: prepare(kind, wanted, acme.fresh("r"), ACTOR, acme.now)) == "usage.arguments"


def test_a_key_in_use_is_not_added(acme: World) -> None:
    for name in ("root-1", "targets", "checkpoint-1"):
        wanted = Wanted(added=[acme.keys[name].public])
        found = code_of(
            lambda wanted=wanted: acme.authority.rotations.prepare("root", wanted, acme.fresh("r"), ACTOR, acme.now)  # type: ignore[misc]
        )
        assert found == "usage.key"


def test_a_root_key_is_added_from_the_command_line(acme: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(acme.authority.layout.root))
    third = acme.public_file(SigningKey.generate())
    words = ("trust", "rotate", "root", acme.fresh("r"), "--add", third, "--dry-run")
    assert "  root: 2 of 3 keys sign, in the place of 2 of 2" in run(*words)["changes"]
    assert "  root: 3 of 3 keys sign, in the place of 2 of 2" in run(*words, "--threshold", "3")["changes"]
    assert refused("trust", "rotate", "online", acme.fresh("r"), "--add", third).code == "usage.arguments"
