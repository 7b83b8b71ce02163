"""Several servers share a database: each has the whole public tree, any may die, and nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import crl_server.lists.public_tree
from crl_server.access.roles import Identity
from crl_server.lists.following import Follower
from crl_server.plugins import releases
from crl_server.plugins.admission import Upload
from crl_server.revocation.standing import NewRule
from crl_server.service import Authority
from crl_server.storage.store import CONNECTIONS
from crl_server.trust import policies
from tests import postgresql
from tests.crl_server.deployments import ACTOR, DAY, NOW, digest, made, revoke
from tests.crl_server.replicas import Replica, listed, replica_of, until
from tests.crl_server.tampering import backup, restore, tamper
from tests.crl_server.test_handovers import code_of
from tests.crl_server.test_publishing import as_a_host
from tests.simulator import Simulator
from verifier.errors import Unreachable
from verifier.files import write_together
from verifier.formats import dsse
from verifier.formats.revocations import parse_head
from verifier.formats.text import Name, PluginId


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Authority]:
    found = made(tmp_path / "first", database=postgresql.shared().new_database())
    yield found
    found.close()


@pytest.fixture
def second(first: Authority, tmp_path: Path) -> Iterator[Authority]:
    found = Authority(replica_of(first, tmp_path / "second"))
    yield found
    found.close()


def tree_of(authority: Authority) -> dict[str, tuple[bytes, int]]:
    public = authority.layout.public
    files = [path for path in public.rglob("*") if path.is_file()]
    return {str(path.relative_to(public)): (path.read_bytes(), path.stat().st_mode & 0o777) for path in files}


def test_a_new_server_writes_the_whole_tree(first: Authority, second: Authority) -> None:
    assert tree_of(second) == tree_of(first)
    assert as_a_host(second).head.seq == 0


def test_whoever_publishes_the_others_follow(first: Authority, second: Authority) -> None:
    with Follower(first.tree), Follower(second.tree):
        for number in range(6):
            here, there = (first, second) if number % 2 else (second, first)
            assert revoke(here, number) == number + 1
            assert as_a_host(here).lists(digest(number))
            until(lambda there=there, number=number: as_a_host(there).lists(digest(number)))  # type: ignore[misc]
    assert tree_of(first) == tree_of(second)
    assert first.verify_audit(NOW) == second.verify_audit(NOW)


def test_more_revocations_at_once_than_connections_do_not_wait_for_the_follower(first: Authority) -> None:
    """Nor that for them: each held what the other waited for, 20 seconds went by, and then revocations failed."""
    with Follower(first.tree, 0.01), ThreadPoolExecutor(CONNECTIONS + 4) as pool:
        done = list(pool.map(lambda number: revoke(first, number), range(40)))
    assert len(set(done)) == 40
    assert as_a_host(first).lists(digest(39))


def test_what_is_renewed_and_what_is_signed_offline_reaches_the_others(first: Authority, second: Authority) -> None:
    later = NOW + DAY
    first.maintain(later)
    text = first.office().text()
    first.office().sign_policy(text, ACTOR, later)
    second.tree.catch_up()
    assert tree_of(first) == tree_of(second)
    assert second.standing(later).trust.policy.version == 2
    before = tree_of(second)
    second.maintain(later)  # somebody has done it already
    assert tree_of(second) == before


def test_a_server_that_dies_while_it_catches_up_has_a_tree_that_verifies(
    first: Authority, second: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        revoke(first, number)
    first.office().sign_policy(first.office().text(), ACTOR, NOW)
    revoke(first, "last")
    survived, done = 0, False
    while not done:
        left = survived

        def failing(files: Mapping[Path, bytes], mode: int = 0o644) -> None:
            nonlocal left
            if left == 0:
                raise Unreachable("io.failed", "the disk is full")
            left -= 1
            write_together(files, mode)

        with monkeypatch.context() as patched:
            patched.setattr(crl_server.lists.public_tree, "write_together", failing)
            again = Authority.__new__(Authority)
            try:
                again.__init__(second.layout.root)  # type: ignore[misc]
            except Unreachable:
                survived += 1
            else:
                again.close()
                done = True
        assert as_a_host(second).head.seq in {0, 6}
    assert survived > 2
    assert as_a_host(second).lists(digest("last"))


def test_a_damaged_or_lost_file_is_written_again_at_the_start(first: Authority, second: Authority) -> None:
    revoke(first, 1)
    segment = next(first.layout.public.glob("lists/segments/*"))
    segment.chmod(0o644)
    segment.write_bytes(b"x" * 16)
    (first.layout.public / "enrolment.json").unlink()
    Authority(first.layout.root).close()
    second.tree.catch_up()
    assert tree_of(first) == tree_of(second)


def test_a_database_that_was_set_back_is_noticed_by_each(first: Authority, second: Authority) -> None:
    revoke(first, 1)
    rows = backup(first)
    revoke(second, 2)
    restore(first, rows)
    assert code_of(lambda: Authority(second.layout.root)) == "server.behind"
    assert code_of(lambda: revoke(second, 3)) == "server.behind"
    assert as_a_host(second).lists(digest(2))


def test_a_file_from_elsewhere_in_the_database_is_written_nowhere(first: Authority, second: Authority) -> None:
    revoke(first, 1)
    move = "UPDATE published_file SET path = :new, sha256 = '' WHERE path = :old"
    segment = f"lists/segments/{next(first.layout.public.glob('lists/segments/*')).name}"
    for name in ("../policy.toml", "lists/../../online/head.pem", "/etc/motd", "lists/segments/x"):
        tamper(first, move, old=segment, new=name)
        assert code_of(second.tree.catch_up) == "server.lint"
        tamper(first, move, old=name, new=segment)
    assert (second.layout.root / "policy.toml").read_bytes() == (first.layout.root / "policy.toml").read_bytes()


# -- real processes ----------------------------------------------------------------------------------------------------


def once(monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    """Let something be done, and then the connection be lost before anything of it is committed; the first time."""
    do, before = getattr(where, name), list[object]()

    def lost(*given: Any, **more: Any) -> Any:
        done = do(*given, **more)
        if not before:
            before.append(done)
            raise Unreachable("io.failed", "the connection was lost")
        return done

    monkeypatch.setattr(where, name, lost)


def test_a_rule_whose_first_transaction_failed_reaches_the_others(
    first: Authority, second: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is on the disk of the first one by then, and must not count as published."""
    once(monkeypatch, first.tree, "keep")
    rule = NewRule("component", {"purl": "pkg:pypi/left-pad"}, "malicious")
    assert code_of(lambda: first.add_rule(rule, ACTOR, NOW, "key")) == "io.failed"
    assert first.add_rule(rule, ACTOR, NOW, "key").rule == "R1"
    second.tree.catch_up()
    assert tree_of(second) == tree_of(first)
    assert as_a_host(second).head.rules.count == 1


def test_so_does_a_release_whose_first_transaction_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "first", "production", database=postgresql.shared().new_database()).close()
    with closing(Authority(tmp_path / "first")) as first:
        second = replica_of(first, tmp_path / "second")
        simulator = Simulator(NOW)
        office = first.office()
        text = office.text()
        for name, tier in (("builder", None), ("owner", None), ("certifier", "core")):
            text = policies.with_principal(text, Name(name), simulator.people[name].public, tier)  # type: ignore[arg-type]
        roles = ([Name("builder")], [Name("owner")], [Name("certifier")])
        office.sign_policy(policies.with_plugin(text, PluginId("sample_plugin"), *roles, None), ACTOR, NOW)
        wheel = simulator.wheel()
        upload = Upload(wheel.file_name, wheel.data, simulator.attest(wheel))
        publisher = Identity(ACTOR, frozenset({"publisher"}))
        once(monkeypatch, releases, "publish")
        assert code_of(lambda: first.admit(upload, publisher, NOW)) == "io.failed"
        first.admit(upload, publisher, NOW)
        with closing(Authority(second)) as other:
            assert tree_of(other) == tree_of(first)
            assert {name.partition("/")[0] for name in tree_of(other)} >= {"records", "releases", "sets"}


def test_any_server_may_die_and_the_database_be_restarted(tmp_path: Path) -> None:
    with postgresql.own() as database:
        now = datetime.now(UTC).replace(microsecond=0)
        authority = made(tmp_path / "a", now=now, database=database.new_database())
        token = authority.create_token(Name("security"), ["revoker"], DAY, ACTOR, now)
        replica_of(authority, tmp_path / "b")
        a, b = Replica(tmp_path / "a"), Replica(tmp_path / "b")
        with b.stream() as pushed:
            next(pushed)
            assert a.revoke(token, digest("at a")) == 201
            assert parse_head(dsse.parse_envelope(next(pushed).head, what="head").unverified_payload).seq == 1
        until(lambda: listed(b.directory, digest("at a")))
        a.kill()
        assert b.revoke(token, digest("at b")) == 201
        database.stop("immediate")
        assert b.revoke(token, digest("too soon")) == 503
        database.start()
        assert b.revoke(token, digest("at b, later"), "key") == 201
        assert b.revoke(token, digest("at b, later"), "key") == 201
        a = Replica(tmp_path / "a")
        assert all(listed(a.directory, digest(name)) for name in ("at a", "at b", "at b, later"))
        assert a.revoke(token, digest("again at a")) == 201
        until(lambda: listed(b.directory, digest("again at a")))
        assert "followed again" in b.log
        with a.stream() as one, b.stream() as other:
            next(one), next(other)
            assert (a.end(), b.end()) == (0, 0)
        authority.close()
        last = Authority(tmp_path / "a")
        assert last.verify_audit(now) is not None
        with last.store.read() as ledger:
            assert len(list(ledger.entries(1, ledger.last_seq()))) == ledger.last_seq()
        last.close()
