"""The authority's other duties: tokens, the audit log in the database, what is left undone by a crash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from crl_server.access.roles import ALLOWED, ROLES, Identity, Operation, Role, authorise
from crl_server.records.audit import Act, append, parse_entry
from crl_server.revocation.revoking import Order
from crl_server.service import Authority
from tests.crl_server.deployments import ACTOR, DAY, HOUR, NOW, digest, revoke
from tests.crl_server.tampering import backup, tamper
from tests.hosts import code_of
from verifier.errors import Refused, UsageError
from verifier.formats.revocations import AuditHead
from verifier.formats.text import Hex, Name

pytestmark = pytest.mark.usefixtures("engine")

CI = Name("ci")


# -- opening -----------------------------------------------------------------------------------------------------------


def test_a_directory_that_is_no_deployment_is_refused(tmp_path: Path) -> None:
    assert code_of(lambda: Authority(tmp_path)) == "usage.deployment"


def test_a_deployment_without_its_database_is_refused(authority: Authority, engine: str) -> None:
    authority.close()
    if engine == "sqlite":
        authority.layout.database.unlink()
        assert code_of(lambda: Authority(authority.layout.root)) == "usage.deployment"
    else:
        authority.layout.database_address.write_text('url = "postgresql:///none?host=/nowhere"')
        assert code_of(lambda: Authority(authority.layout.root)) == "io.failed"


def test_the_database_of_another_deployment_is_refused(authority: Authority) -> None:
    with authority.store.write() as ledger:
        ledger.set("deployment", "other")
    assert code_of(lambda: Authority(authority.layout.root)) == "usage.configuration"


# -- tokens ------------------------------------------------------------------------------------------------------------


def token(authority: Authority, *roles: Role, life: timedelta = DAY) -> str:
    return authority.create_token(CI, roles, life, ACTOR, NOW)


@pytest.mark.parametrize(
    "presented", ["", "loadlock_", "loadlock_" + "A" * 43, "x" * 10_000, "\udcff", "loadlock_\udcff"]
)
def test_an_unknown_token_is_refused(authority: Authority, presented: str) -> None:
    token(authority, "publisher")
    assert code_of(lambda: authority.identify(presented, NOW)) == "auth.token"


def test_a_token_is_refused_once_it_has_expired_or_was_taken_back(authority: Authority) -> None:
    secret = token(authority, "publisher")
    assert authority.identify(secret, NOW + DAY - HOUR).roles == {"publisher"}
    assert code_of(lambda: authority.identify(secret, NOW + DAY)) == "auth.token"
    authority.revoke_token(CI, ACTOR, NOW)
    assert code_of(lambda: authority.identify(secret, NOW)) == "auth.token"


@pytest.mark.parametrize("life", [timedelta(0), -DAY, 367 * DAY])
def test_a_token_has_an_end_within_a_year(authority: Authority, life: timedelta) -> None:
    assert code_of(lambda: token(authority, "publisher", life=life)) == "usage.arguments"


def test_a_token_without_a_role_is_not_made(authority: Authority) -> None:
    assert code_of(lambda: token(authority)) == "usage.arguments"


def test_a_name_is_used_once(authority: Authority) -> None:
    token(authority, "publisher")
    authority.revoke_token(CI, ACTOR, NOW)
    assert code_of(lambda: token(authority, "publisher")) == "usage.exists"
    assert code_of(lambda: authority.revoke_token(Name("other"), ACTOR, NOW)) == "usage.arguments"


def test_no_token_stands_in_database_or_audit_log(authority: Authority) -> None:
    secret = token(authority, "publisher", "revoker")
    authority.identify(secret, NOW)
    rows = repr(backup(authority))
    assert hashlib.sha256(secret.encode()).hexdigest() in rows
    assert secret.removeprefix("loadlock_") not in rows


@pytest.mark.parametrize("operation", ALLOWED)
@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_the_table_says(role: Role, operation: Operation) -> None:
    identity = Identity("token:ci", frozenset({role}))
    if role in ALLOWED[operation]:
        authorise(identity, operation)
    else:
        assert code_of(lambda: authorise(identity, operation)) == "auth.role"


def test_writing_takes_one_role_each() -> None:
    assert ALLOWED["artifact.admit"] == {"publisher"}
    assert ALLOWED["revocation.add"] == {"revoker"}
    nobody = Identity("token:nobody", frozenset())
    assert {code_of(partial(authorise, nobody, operation)) for operation in ALLOWED} == {"auth.role"}


# -- idempotency -------------------------------------------------------------------------------------------------------


def test_a_key_does_a_revocation_once(authority: Authority) -> None:
    order = Order((digest(1),), "malicious")
    first = authority.revoke(order, ACTOR, NOW, "key-1")
    log = authority.verify_audit(NOW)
    assert authority.revoke(order, ACTOR, NOW + HOUR, "key-1") == first
    assert authority.verify_audit(NOW) == log
    assert (
        code_of(lambda: authority.revoke(Order((digest(2),), "malicious"), ACTOR, NOW, "key-1"))
        == "request.idempotency"
    )
    assert (
        code_of(lambda: authority.revoke(Order((digest(1),), "mistake"), ACTOR, NOW, "key-1")) == "request.idempotency"
    )
    other = authority.revoke(Order((digest(2),), "malicious"), "token:other", NOW, "key-1")
    assert other.revoked == (digest(2),)


# -- denials -----------------------------------------------------------------------------------------------------------


def test_refused_writes_are_recorded_up_to_a_limit(authority: Authority) -> None:
    for number in range(120):
        authority.record_denial("anonymous", "revocation.add", "auth.token", NOW + timedelta(seconds=number))
    authority.record_denial("anonymous", "revocation.add", "auth.token", NOW + 2 * HOUR)
    with authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    denied = [entry for entry in entries if entry.action == "access.denied"]
    assert len(denied) == 101
    assert "more" in denied[99].detail
    assert all("more" not in entry.detail for entry in [*denied[:99], denied[100]])


def test_strangers_hide_nobody_who_is_known_and_workers_count_together(authority: Authority) -> None:
    with closing(Authority(authority.layout.root)) as other:
        for number in range(100):
            (authority, other)[number % 2].record_denial("anonymous", "rule.add", "auth.token", NOW)
        for worker in (authority, other):
            worker.record_denial("anonymous", "rule.add", "auth.token", NOW)
            worker.record_denial("token:ci", "rule.add", "auth.role", NOW)
    with authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    denied = [entry.actor for entry in entries if entry.action == "access.denied"]
    assert (denied.count("anonymous"), denied.count("token:ci")) == (100, 2)


# -- the audit log -----------------------------------------------------------------------------------------------------


EDIT = 'UPDATE audit_line SET line = :line WHERE "index" = :index'
EDIT_BOTH = 'UPDATE audit_line SET line = :line, sha256 = :sha256 WHERE "index" = :index'


def edited(authority: Authority) -> bytes:
    with authority.store.read() as ledger:
        return list(ledger.audit_lines())[3].replace(b"malicious", b"superseded")


def edit(authority: Authority) -> None:
    tamper(authority, EDIT, line=edited(authority), index=3)


def edit_with_its_hash(authority: Authority) -> None:
    state = AuditHead(count=3, sha256=Hex("0" * 64))
    _, after = append(state, Act("x", "token.create", "", {}), NOW)
    tamper(authority, EDIT_BOTH, line=edited(authority), sha256=after.sha256, index=3)


def cut(authority: Authority) -> None:
    tamper(authority, 'DELETE FROM audit_line WHERE "index" >= 4')


def remove_one(authority: Authority) -> None:
    tamper(authority, 'DELETE FROM audit_line WHERE "index" = 2')


def rewrite(authority: Authority) -> None:
    with authority.store.read() as ledger:
        entries = [parse_entry(line) for line in ledger.audit_lines()]
    state = AuditHead(count=0, sha256=Hex("0" * 64))
    for entry in entries:
        line, state = append(state, Act("local:mallory", entry.action, entry.subject, entry.detail), NOW)
        tamper(authority, EDIT_BOTH, line=line, sha256=state.sha256, index=entry.index)


@pytest.mark.parametrize("attack", [edit, edit_with_its_hash, cut, remove_one, rewrite])
def test_a_log_that_was_tampered_with_in_the_database_is_refused(
    authority: Authority, attack: Callable[[Authority], None]
) -> None:
    for number in range(3):
        revoke(authority, number)
    authority.verify_audit(NOW)
    attack(authority)
    with pytest.raises(Refused) as caught:
        authority.verify_audit(NOW)
    assert caught.value.code == "audit.chain"


def test_an_entry_forged_into_the_database_is_no_revocation(authority: Authority) -> None:
    revoke(authority, "real")
    tamper(authority, "INSERT INTO list_entry (digest, seq) VALUES (:digest, 1)", digest=digest("forged"))
    assert code_of(lambda: revoke(authority, "forged")) == "server.lint"


def test_every_change_stands_in_the_log(authority: Authority) -> None:
    token(authority, "publisher")
    authority.revoke_token(CI, ACTOR, NOW)
    revoke(authority, 1)
    authority.maintain(NOW + 13 * HOUR)
    with authority.store.read() as ledger:
        actions = [parse_entry(line).action for line in ledger.audit_lines()]
    assert actions == [
        "deployment.create",
        "list.publish",
        "enrolment.sign",
        "token.create",
        "token.revoke",
        "artifact.revoke",
        "list.publish",
        "trust.resign",
        "list.publish",
    ]
    with pytest.raises(UsageError):
        authority.create_token(CI, [], DAY, ACTOR, NOW)
    with authority.store.read() as ledger:
        assert ledger.audit_state().count == len(actions)  # what was refused here changed nothing
