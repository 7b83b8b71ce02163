"""The database is lost: from an export everything it shows is on the list again, and hosts follow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from crl_server.lists.countersigning import review, sign
from crl_server.lists.dossier import Dossier
from crl_server.revocation.reinstating import Wish
from crl_server.service import Authority
from crl_server.storage.backup import back_up, restore
from crl_server.trust.reclaiming import Reclaimed, reclaim
from tests.crl_server.deployments import ACTOR, NOW, digest, made, revoke
from tests.crl_server.rotated import World, world
from tests.crl_server.takebacks import Reader, add_rule, admit, checkpoint, root_of, sign_twice, subject
from tests.hosts import code_of


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    revoke(new, "early")
    yield new
    new.close()


def exported(authority: Authority, directory: Path) -> Path:
    """A copy of the public tree, as a CDN has it."""
    shutil.copytree(authority.layout.public, directory)
    return directory


def restored(authority: Authority, backup: Path, directory: Path) -> Authority:
    """The deployment as its backup has it."""
    restore(backup, directory, ACTOR, NOW)
    new = Authority(directory)
    shutil.copytree(authority.layout.offline, new.layout.offline)  # people bring them when they sign
    return new


def lists(authority: Authority, *labels: str) -> list[bool]:
    current = authority.standing(NOW).revocations
    return [current.lists(digest(label)) for label in labels]


class Lost:
    """A deployment, a backup of an earlier moment, and an export of a later one."""

    def __init__(self, authority: Authority, place: Path) -> None:
        self.place = place
        self.authority = authority
        self.backup = place / "backup"
        back_up(authority.layout, self.backup, NOW)

    def recovered(self) -> tuple[Authority, Reclaimed]:
        """What comes of the backup and the export of now."""
        export = exported(self.authority, self.place / "export")
        new = restored(self.authority, self.backup, self.place / "new")
        return new, reclaim(new, export, ACTOR, NOW)


@pytest.mark.parametrize("checkpoints", [0, 1, 2])
def test_nothing_that_the_export_shows_is_lost(authority: Authority, tmp_path: Path, checkpoints: int) -> None:
    admit(authority, subject("known", signer="team-b"))
    lost = Lost(authority, tmp_path)
    host = Reader(authority)
    revoke(authority, "one", "two")
    add_rule(authority, "team-b", "excepted")
    for number in range(checkpoints):
        checkpoint(authority, tmp_path / f"checkpoint-{number}")
        revoke(authority, f"after-{number}")
    before = host.refresh()
    new, done = lost.recovered()
    assert (done.entries, done.rules) == (3 + checkpoints, 1)
    assert done.seq > before.head.seq + 100_000 - 10
    reader = Reader(new)
    reader.current = before
    after = reader.refresh()
    labels = ["early", "one", "two", "known", *(f"after-{number}" for number in range(checkpoints))]
    assert all(after.lists(digest(label)) for label in labels)
    assert [rule.id for rule in after.rules.rules] == ["R1"]
    assert after.rules.rules[0].excepted == (digest("excepted"),)
    revoke(new, "later")
    assert add_rule(new, "team-c").rule == "R10002"
    assert reader.refresh().lists(digest("later"))
    assert Reader(new).refresh().count == reader.current.count
    new.verify_audit(NOW)
    new.close()


def test_what_was_taken_back_stays_taken_back(authority: Authority, tmp_path: Path) -> None:
    add_rule(authority, "team-b")
    lost = Lost(authority, tmp_path)
    for wish in (Wish(digest("early"), None, "a mistake"), Wish(None, 1, "a mistake")):
        number = authority.request_reinstatement(wish, ACTOR, NOW).id
        authority.approve_reinstatement(number, "token:second", NOW)
    checkpoint(authority, tmp_path / "checkpoint")
    revoke(authority, "late")
    assert lists(authority, "early", "late") == [False, True]
    new, done = lost.recovered()
    assert lists(new, "early", "late") == [False, True]
    assert (done.rules, new.standing(NOW).revocations.rules.rules) == (0, ())
    revoke(new, "early")
    assert lists(new, "early") == [True]
    new.close()


def test_an_entry_that_is_known_by_sixteen_bytes_can_be_taken_back(authority: Authority, tmp_path: Path) -> None:
    lost = Lost(authority, tmp_path)
    revoke(authority, "mistaken")
    new, _ = lost.recovered()
    shown = digest("mistaken")[:39] + "0" * 32
    from verifier.formats.text import Digest

    number = new.request_reinstatement(Wish(Digest(shown), None, "a mistake"), ACTOR, NOW).id
    new.approve_reinstatement(number, "token:second", NOW)
    host = Reader(new)
    host.refresh()
    checkpoint(new, tmp_path / "checkpoint")
    assert not host.refresh().lists(digest("mistaken"))
    new.close()


def test_after_the_loss_of_the_log_checkpoint_signers_have_to_be_told(authority: Authority, tmp_path: Path) -> None:
    lost = Lost(authority, tmp_path)
    for number in range(2):
        revoke(authority, f"more-{number}")
        checkpoint(authority, tmp_path / f"checkpoint-{number}")
    new, _ = lost.recovered()
    new.prepare_checkpoint(tmp_path / "c", ACTOR, NOW)
    dossier = Dossier(tmp_path / "c")
    assert code_of(lambda: review(dossier, root_of(new), NOW)) == "audit.chain"
    assert "lost" in review(dossier, root_of(new), NOW, recovered=True).gap
    from crl_server.trust.signing import SigningKey

    for name in ("checkpoint-1", "checkpoint-2"):
        sign(dossier, SigningKey.read(new.layout.offline / f"{name}.pem"))
    assert new.publish_checkpoint(dossier, ACTOR, NOW).head.epoch == 4
    later = Dossier(tmp_path / "d")
    new.prepare_checkpoint(later.directory, ACTOR, NOW)
    assert review(later, root_of(new), NOW).gap == ""
    new.close()


def test_nobody_is_told_of_a_recovery_that_was_none(authority: Authority, tmp_path: Path) -> None:
    authority.prepare_checkpoint(tmp_path / "c", ACTOR, NOW)
    dossier = Dossier(tmp_path / "c")
    assert code_of(lambda: review(dossier, root_of(authority), NOW, recovered=True)) == "checkpoint.unfounded"


@pytest.mark.parametrize("damage", ["lists/head.json", "trust/metadata/timestamp.json", "lists/segments"])
def test_an_export_that_does_not_verify_is_not_taken(authority: Authority, tmp_path: Path, damage: str) -> None:
    lost = Lost(authority, tmp_path)
    revoke(authority, "one")
    export = exported(authority, tmp_path / "export")
    found = export / damage
    for path in [found] if found.is_file() else list(found.iterdir()):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    new = restored(authority, lost.backup, tmp_path / "new")
    head = new.layout.head.read_bytes()
    assert code_of(lambda: reclaim(new, export, ACTOR, NOW)).startswith(("list.", "trust.", "format."))
    assert new.layout.head.read_bytes() == head
    assert code_of(lambda: new.reconcile(NOW)) == "server.restored"
    new.close()


def test_an_older_export_and_another_deployments_are_not_taken(authority: Authority, tmp_path: Path) -> None:
    older = exported(authority, tmp_path / "older")
    revoke(authority, "one")
    assert code_of(lambda: reclaim(authority, older, ACTOR, NOW)) == "list.rollback"
    checkpoint(authority, tmp_path / "checkpoint")
    assert code_of(lambda: reclaim(authority, older, ACTOR, NOW)) == "trust.rollback"
    stranger = made(tmp_path / "stranger")
    other = exported(stranger, tmp_path / "other")
    stranger.close()
    assert code_of(lambda: reclaim(authority, other, ACTOR, NOW)) == "trust.root"
    assert code_of(lambda: reclaim(authority, tmp_path / "nothing", ACTOR, NOW)) == "io.failed"


def test_keys_that_were_rotated_since_have_to_be_brought(tmp_path: Path) -> None:
    with world(tmp_path) as acme:
        back_up(acme.authority.layout, tmp_path / "backup", acme.now)
        acme.rotate("online")
        export = exported(acme.authority, tmp_path / "export")
        restore(tmp_path / "backup", tmp_path / "new", ACTOR, acme.now)
        new = Authority(tmp_path / "new")
        assert code_of(lambda: reclaim(new, export, ACTOR, acme.now)) == "usage.key"
        shutil.copyfile(acme.authority.layout.online / "timestamp.pem", new.layout.online / "timestamp.pem")
        assert reclaim(new, export, ACTOR, acme.now).seq > 100_000
        assert new.repository.trust().root_version == 2
        new.close()


def recovering(acme: World, backup: Path) -> None:
    """The server's machine burns; the deployment is restored to its place."""
    acme.authority.close()
    for name in ("server", "online", "public"):
        shutil.rmtree(acme.authority.layout.root / name)
    place = acme.fresh("restored")
    restore(backup, place, ACTOR, acme.now)
    for name in ("server", "online", "public"):
        shutil.move(place / name, acme.authority.layout.root / name)
    again = Authority(acme.authority.layout.root)
    acme.live.authority = acme.authority = again


def test_real_hosts_follow_and_those_that_saw_more_follow_the_cut(tmp_path: Path) -> None:
    with world(tmp_path) as acme:
        revoke(acme.authority, "early", now=acme.now)
        back_up(acme.authority.layout, tmp_path / "backup", acme.now)
        revoke(acme.authority, "exported", now=acme.now)
        at_export, saw_more, slept = acme.host("at-export"), acme.host("saw-more"), acme.host("slept")
        slept.sync()
        at_export.sync()
        export = exported(acme.authority, tmp_path / "export")
        revoke(acme.authority, "lost", now=acme.now)
        saw_more.sync()
        recovering(acme, tmp_path / "backup")
        assert code_of(at_export.sync) == "list.rollback"
        reclaim(acme.authority, export, ACTOR, acme.now)
        for host in (at_export, slept, acme.host("fresh")):
            found = host.sync().revocations
            assert [found.lists(digest(label)) for label in ("early", "exported")] == [True, True]
        assert code_of(saw_more.sync) == "list.fork"
        acme.authority.prepare_checkpoint(tmp_path / "cut", ACTOR, acme.now, cut=True)
        sign_twice(acme.authority, Dossier(tmp_path / "cut"), acme.now)
        acme.authority.publish_checkpoint(Dossier(tmp_path / "cut"), ACTOR, acme.now)
        found = saw_more.sync().revocations
        assert [found.lists(digest(label)) for label in ("early", "exported", "lost")] == [True, True, False]


STEPS = st.lists(st.sampled_from(["revoke", "rule", "checkpoint", "backup", "take-back"]), min_size=1, max_size=7)


@given(steps=STEPS)
@settings(max_examples=4, phases=[Phase.explicit, Phase.generate])
def test_whatever_was_lost_hosts_at_the_export_follow(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    place = tmp_path_factory.mktemp("lost")
    authority = made(place / "acme")
    lost = Lost(authority, place)
    for number, step in enumerate(steps):
        if step == "revoke":
            revoke(authority, f"label-{number}")
        elif step == "rule":
            add_rule(authority, f"team-{number}")
        elif step == "checkpoint":
            checkpoint(authority, place / f"checkpoint-{number}")
        elif step == "take-back":
            revoke(authority, f"back-{number}")
            wish = Wish(digest(f"back-{number}"), None, "a mistake")
            authority.approve_reinstatement(authority.request_reinstatement(wish, ACTOR, NOW).id, "token:b", NOW)
        else:
            lost.backup.unlink()
            back_up(authority.layout, lost.backup, NOW)
    host = Reader(authority)
    before = host.refresh()
    new, _ = lost.recovered()
    host.authority = new
    after = host.refresh()
    entries = {before.base.at(i) for i in range(len(before.base))} | before.added
    assert entries <= {after.base.at(i) for i in range(len(after.base))} | after.added
    assert [rule for rule in before.rules.rules if rule not in after.rules.rules] == []
    revoke(new, "later")
    assert host.refresh().lists(digest("later"))
    assert Reader(new).refresh().lists(digest("later"))
    for one in (new, authority):
        one.close()
