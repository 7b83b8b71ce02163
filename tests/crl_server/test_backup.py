"""Backups of a deployment that runs: whole, verified, without offline keys; and what is restored from them."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crl_server.access.roles import Identity
from crl_server.console import sessions
from crl_server.layout import Layout
from crl_server.service import Authority
from crl_server.storage.backup import back_up, check, restore
from crl_server.trust.reclaiming import reclaim
from tests.crl_server.deployments import ACTOR, NOW, digest, made, revoke
from tests.crl_server.takebacks import admit, subject
from tests.crl_server.test_cli import refused, run
from tests.hosts import code_of
from verifier.formats.revocations import sha256_hex


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    admit(new, subject("plugin"))
    revoke(new, "a", "b")
    yield new
    new.close()


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name: content.read() for name, content in found.items() if content is not None}


def packed(file: Path, contents: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(file, "w") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in more:
            archive.addfile(member)
    return file


def indexed(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The same with an index that fits."""
    index = json.loads(contents["backup.json"])
    index["files"] = {name: f"sha256:{sha256_hex(data)}" for name, data in contents.items() if name != "backup.json"}
    return contents | {"backup.json": json.dumps(index).encode()}


def without(name: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda contents: {key: data for key, data in contents.items() if not key.startswith(name)}


def another(name: str, data: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda contents: {key: data if key.startswith(name) else old for key, old in contents.items()}


@pytest.mark.parametrize(
    "damage",
    [
        without("backup.json"),
        without("policy.toml"),
        without("public/lists/head.json"),
        lambda contents: indexed(without("public/lists/head.json")(contents)),
        lambda contents: indexed(without("public/lists/segments/")(contents)),
        lambda contents: indexed(without("public/trust/metadata/1.root.json")(contents)),
        lambda contents: indexed(another("public/lists/segments/", b"x" * 32)(contents)),
        lambda contents: indexed(another("server/loadlock.sqlite", b"SQLite format 3\0" + b"x" * 4096)(contents)),
        lambda contents: indexed(another("deployment.json", b"{}")(contents)),
        another("policy.toml", b""),
        another("backup.json", b"{}"),
        lambda contents: contents | {"more": b""},
        lambda contents: indexed(contents | {"../outside": b""}),
        lambda contents: indexed(contents | {"/outside": b""}),
        lambda contents: indexed(contents | {"server/../../outside": b""}),
        lambda contents: indexed(contents | {"offline/root-1.pem": b""}),
        lambda contents: indexed(contents | {"public/index.html": b""}),
    ],
)
def test_a_damaged_backup_is_refused_and_leaves_nothing_behind(
    authority: Authority, tmp_path: Path, damage: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> None:
    back_up(authority.layout, tmp_path / "backup", NOW)
    bad = packed(tmp_path / "bad", damage(members(tmp_path / "backup")))
    before = sorted(tmp_path.iterdir())
    assert code_of(lambda: check(bad, NOW)) == "backup.damaged"
    assert code_of(lambda: restore(bad, tmp_path / "new", ACTOR, NOW)) == "backup.damaged"
    assert sorted(tmp_path.iterdir()) == before


def holed(name: str, size: int) -> tarfile.TarInfo:
    """A file that is nothing but a hole, in the form of PAX 0.1: it would take as much of the disk as it says."""
    member = tarfile.TarInfo(name)
    member.pax_headers = {f"GNU.sparse.{key}": value for key, value in (
        ("major", "0"), ("minor", "1"), ("name", name), ("map", f"{size},0"), ("size", str(size)), ("numblocks", "1"),
    )}  # fmt: skip
    return member


def linked(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        linked("server/x", tarfile.SYMTYPE, "/etc/passwd"),
        linked("server/x", tarfile.LNKTYPE, "policy.toml"),
        linked("server/x", tarfile.FIFOTYPE),
        linked("server/x", tarfile.CHRTYPE),
        linked("server", tarfile.DIRTYPE),
        linked("policy.toml", tarfile.REGTYPE),
    ],
)
def test_a_backup_holds_plain_files_each_once(authority: Authority, tmp_path: Path, member: tarfile.TarInfo) -> None:
    back_up(authority.layout, tmp_path / "backup", NOW)
    bad = packed(tmp_path / "bad", members(tmp_path / "backup"), member)
    assert code_of(lambda: restore(bad, tmp_path / "new", ACTOR, NOW)) == "backup.damaged"


def test_a_backup_holds_no_file_with_holes(authority: Authority, tmp_path: Path) -> None:
    # A few bytes of it would fill the disk, although what it holds is what its index says.
    back_up(authority.layout, tmp_path / "backup", NOW)
    contents = indexed(members(tmp_path / "backup") | {"server/x": bytes(2**20)})
    del contents["server/x"]
    bad = packed(tmp_path / "bad", contents, holed("server/x", 2**20))
    assert code_of(lambda: restore(bad, tmp_path / "new", ACTOR, NOW)) == "backup.damaged"


@pytest.mark.parametrize("size", [0, 1, 511, 5000])
def test_a_file_that_was_cut_short_is_refused(authority: Authority, tmp_path: Path, size: int) -> None:
    back_up(authority.layout, tmp_path / "backup", NOW)
    (tmp_path / "bad").write_bytes((tmp_path / "backup").read_bytes()[:size])
    assert code_of(lambda: check(tmp_path / "bad", NOW)) == "backup.damaged"


def test_a_database_whose_log_was_edited_makes_no_backup(authority: Authority, tmp_path: Path) -> None:
    with closing(sqlite3.connect(authority.layout.database)) as connection:
        connection.execute("UPDATE audit_line SET line = replace(line, 'malicious', 'mistake')")
        connection.commit()
    assert code_of(lambda: back_up(authority.layout, tmp_path / "backup", NOW)) == "backup.damaged"
    assert not (tmp_path / "backup").exists()


def test_nothing_is_written_over(authority: Authority, tmp_path: Path) -> None:
    assert code_of(lambda: back_up(authority.layout, authority.layout.policy, NOW)) == "usage.exists"
    back_up(authority.layout, tmp_path / "backup", NOW)
    assert code_of(lambda: restore(tmp_path / "backup", authority.layout.root, ACTOR, NOW)) == "usage.exists"


def test_a_backup_holds_no_offline_key_and_is_its_owners_alone(authority: Authority, tmp_path: Path) -> None:
    offline = [path.read_bytes() for path in authority.layout.offline.iterdir()]
    offline += [path.read_bytes() for path in authority.layout.principals.iterdir()]
    done = back_up(authority.layout, tmp_path / "backup", NOW)
    assert done.database
    assert stat.S_IMODE(os.stat(tmp_path / "backup").st_mode) == 0o600
    contents = members(tmp_path / "backup")
    assert {"online/head.pem", "online/timestamp.pem", "server/loadlock.sqlite", "policy.toml"} <= contents.keys()
    whole = (tmp_path / "backup").read_bytes()
    assert not any(key in whole for key in offline)


def test_what_is_restored_publishes_nothing_before_it_was_raised(authority: Authority, tmp_path: Path) -> None:
    back_up(authority.layout, tmp_path / "backup", NOW)
    restore(tmp_path / "backup", tmp_path / "new", ACTOR, NOW)
    restored = Authority(tmp_path / "new")
    head = restored.layout.head.read_bytes()
    assert code_of(lambda: restored.reconcile(NOW)) == "server.restored"
    assert code_of(lambda: revoke(restored, "c")) == "server.restored"
    assert restored.layout.head.read_bytes() == head
    assert reclaim(restored, restored.layout.public, ACTOR, NOW).seq > 100_000
    restored.reconcile(NOW)
    revoke(restored, "d")
    published = restored.standing(NOW).revocations
    assert all(published.lists(digest(label)) for label in "abcd")
    private = (restored.layout.online, restored.layout.settings.parent)
    assert [stat.S_IMODE(os.stat(folder).st_mode) for folder in private] == [0o700, 0o700]
    restored.verify_audit(NOW)
    with restored.store.read() as ledger:
        from crl_server.plugins import registry

        assert registry.artifact(ledger, digest("plugin")) is not None
    restored.close()


def test_whoever_was_signed_in_when_the_backup_was_made_is_not_after_its_restoration(
    authority: Authority, tmp_path: Path
) -> None:
    with authority.store.write() as ledger:
        secret = sessions.begin(ledger, Identity("token:alice", frozenset({"approver"})), "token:alice", NOW)
    back_up(authority.layout, tmp_path / "backup", NOW)
    restore(tmp_path / "backup", tmp_path / "new", ACTOR, NOW)
    restored = Authority(tmp_path / "new")
    with restored.store.read() as ledger:
        assert code_of(lambda: sessions.find(ledger, secret, NOW)) == "auth.session"
    restored.close()


def test_a_note_of_the_restoration_that_is_damaged_lets_nobody_in(authority: Authority, tmp_path: Path) -> None:
    back_up(authority.layout, tmp_path / "backup", NOW)
    restore(tmp_path / "backup", tmp_path / "new", ACTOR, NOW)
    note = Layout(tmp_path / "new").restored
    whole = note.read_bytes()
    for damaged, code in ((b"", "format.syntax"), (b"{}", "format.schema"), (b" " * 5000, "format.too-large")):
        note.write_bytes(damaged)
        assert code_of(lambda: Authority(tmp_path / "new")) == code
    note.write_bytes(whole)
    Authority(tmp_path / "new").close()
    assert not note.exists()


def test_a_backup_made_under_writes_is_consistent(authority: Authority, tmp_path: Path) -> None:
    done, failed = threading.Event(), []

    def write() -> None:
        number = 0
        while not done.is_set():
            try:
                revoke(authority, f"more-{number}")
            except Exception as error:
                failed.append(error)
                return
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(4):
            back_up(authority.layout, tmp_path / f"backup-{number}", NOW)
    finally:
        done.set()
        writer.join()
    assert failed == []
    seqs = [check(tmp_path / f"backup-{number}", NOW).seq for number in range(4)]
    assert seqs == sorted(seqs)
    assert seqs[-1] > 1


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crl_server.operating.serving import utc_now

    made(tmp_path / "acme", now=utc_now().replace(microsecond=0)).close()
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    assert run("backup", tmp_path / "b")["seq"] == 0
    assert run("backup", tmp_path / "b", "--check")["files"] > 10
    assert run("restore", tmp_path / "b", tmp_path / "new")["epoch"] == 1
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "new"))
    assert refused("revoke", digest(1), "--reason", "malicious").code == "server.restored"
    assert refused("recover").code == "usage.arguments"
    done = run("recover", "--from", tmp_path / "acme" / "public", tmp_path / "cut")
    assert (done["entries"], done["directory"]) == (0, str(tmp_path / "cut"))
    assert run("revoke", digest(2), "--reason", "malicious")["seq"] == done["seq"] + 1


def test_the_server_does_not_start_below_its_last_export(authority: Authority, tmp_path: Path) -> None:
    from crl_server.operating.serving import serve

    settings = f'[[export]]\nname = "mirror"\ndirectory = "{tmp_path / "mirror"}"\n'
    authority.layout.settings.write_text(settings)
    back_up(authority.layout, tmp_path / "backup", NOW)
    revoke(authority, "late")
    from crl_server.export.worker import exporters

    again = Authority(authority.layout.root)
    for exporter in exporters(again, again.settings.export):
        exporter.run(NOW)
    again.close()
    with tarfile.open(tmp_path / "backup") as archive:  # by hand, past 'loadlock restore'
        archive.extractall(tmp_path / "by-hand", filter="data")
    old = Authority(tmp_path / "by-hand")
    head = old.layout.head.read_bytes()
    assert code_of(lambda: serve(old, "127.0.0.1", 0, print, lambda: NOW)) == "export.behind"
    assert old.layout.head.read_bytes() == head
    (old.layout.online / "head.pem").chmod(0o600)
    reclaim(old, tmp_path / "mirror", ACTOR, NOW)
    assert old.standing(NOW).revocations.lists(digest("late"))
    for exporter in exporters(old, old.settings.export):
        exporter.check_not_behind()
    old.close()
