"""The audit log of a real database: who edits, cuts, rewrites or rolls it back is found out, there and elsewhere."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlmodel import col, delete, select

from crl_server.records.audit import EMPTY, Act, append, parse_entry
from crl_server.records.audit_export import AuditExport
from crl_server.service import Authority
from crl_server.storage.tables import AuditLine
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import NOW, digest, made, revoke
from tests.crl_server.rollbacks import keep, put_back
from tests.crl_server.takebacks import root_of
from tests.crl_server.test_cli import refused, run
from tests.hosts import code_of
from verifier.formats import dsse
from verifier.formats.revocations import AuditHead, sha256_hex
from verifier.signatures.private_keys import sign_envelope

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    revoke(new, "a")
    revoke(new, "b")
    yield new
    new.close()


Rows = list[tuple[int, bytes]]


def edited(rows: Rows) -> Rows:
    return [(number, line.replace(b"malicious", b"mistake")) for number, line in rows]


def cut(rows: Rows) -> Rows:
    return rows[:-3]


def beheaded(rows: Rows) -> Rows:
    return rows[2:]


def holed(rows: Rows) -> Rows:
    return rows[:2] + rows[3:]


def swapped(rows: Rows) -> Rows:
    return [rows[0], (1, rows[2][1]), (2, rows[1][1]), *rows[3:]]


def rewritten(rows: Rows) -> Rows:
    """A whole chain of its own, of the same length."""
    state, new = EMPTY, []
    for number, _ in rows:
        line, state = append(state, Act("token:ci", "artifact.revoke", "nothing happened", {}), NOW)
        new.append((number, line))
    return new


def emptied(_: Rows) -> Rows:
    return []


ATTACKS = [edited, cut, beheaded, holed, swapped, rewritten, emptied]


def tampered(authority: Authority, attack: Callable[[Rows], Rows]) -> None:
    """Change the table as somebody with the database would."""
    with authority.store.write() as ledger:
        rows = [(row.index, row.line) for row in ledger.session.exec(select(AuditLine).order_by(col(AuditLine.index)))]
        ledger.session.exec(delete(AuditLine))
        ledger.session.expunge_all()
        ledger.session.add_all(
            AuditLine(index=number, line=line, sha256=sha256_hex(line)) for number, line in attack(rows)
        )


@pytest.mark.parametrize("attack", ATTACKS)
def test_whoever_changes_the_table_is_found_out(authority: Authority, attack: Callable[[Rows], Rows]) -> None:
    authority.verify_audit(NOW)
    tampered(authority, attack)
    assert code_of(lambda: authority.verify_audit(NOW)) == "audit.chain"


@pytest.mark.parametrize("attack", [edited, holed, swapped, rewritten])
def test_no_list_vouches_for_a_log_that_was_written_anew(authority: Authority, attack: Callable[[Rows], Rows]) -> None:
    """Otherwise the next revocation would sign what somebody with the database has made of the log."""

    def consistent(rows: Rows) -> Rows:
        """What the attack leaves, as a chain of its own in which nothing is broken, and longer than the old one."""
        state, new = EMPTY, Rows()
        for _, line in [*attack(rows), *rows]:
            entry = parse_entry(line)
            made, state = append(state, Act(entry.actor, entry.action, entry.subject, entry.detail), NOW)
            new.append((len(new), made))
        return new

    tampered(authority, consistent)
    assert code_of(lambda: revoke(authority, "c")) == "server.lint"
    assert code_of(lambda: authority.verify_audit(NOW)) == "audit.chain"


def test_a_database_that_was_rolled_back_is_found_out(authority: Authority, tmp_path: Path) -> None:
    keep(authority.layout, tmp_path / "old")
    revoke(authority, "c")
    authority.close()
    put_back(authority.layout, tmp_path / "old")
    again = Authority(authority.layout.root, recovering=True)  # a shared database that is behind lets nobody else in
    assert code_of(lambda: again.verify_audit(NOW)) == "audit.chain"
    assert code_of(lambda: again.reconcile(NOW)) == "server.behind"
    assert code_of(lambda: revoke(again, "d")) == "server.behind"
    again.close()


def exported(authority: Authority, directory: Path) -> AuditExport:
    export = AuditExport(directory)
    with authority.store.read() as ledger:
        export.create(authority.layout, ledger)
    return export


def test_an_exported_log_is_its_owners_alone(authority: Authority, tmp_path: Path) -> None:
    exported(authority, tmp_path / "export")
    assert stat.S_IMODE((tmp_path / "export" / "audit.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_exported_log_is_verified_without_the_service(
    authority: Authority, tmp_path: Path, attack: Callable[[Rows], Rows]
) -> None:
    export = exported(authority, tmp_path / "export")
    assert export.verify(root_of(authority), NOW).state.count == len(export.lines())
    lines = attack(list(enumerate(export.lines())))
    (tmp_path / "export" / "audit.jsonl").write_bytes(b"".join(line + b"\n" for _, line in lines))
    assert code_of(lambda: export.verify(root_of(authority), NOW)) == "audit.chain"


def test_a_log_that_was_written_anew_does_not_continue_an_earlier_export(authority: Authority, tmp_path: Path) -> None:
    """Even by whoever has the head key, and signs the new log."""
    earlier = exported(authority, tmp_path / "earlier")
    revoke(authority, "c")
    later = exported(authority, tmp_path / "later")
    later.verify(root_of(authority), NOW, earlier)
    assert code_of(lambda: earlier.verify(root_of(authority), NOW, later)) == "audit.chain"
    rows = rewritten(list(enumerate(later.lines())))
    (tmp_path / "later" / "audit.jsonl").write_bytes(b"".join(line + b"\n" for _, line in rows))
    state = EMPTY
    for _, line in rows:
        state = AuditHead(count=state.count + 1, sha256=sha256_hex(line))
    path = tmp_path / "later" / "public" / "lists" / "head.json"
    head = json.loads(dsse.parse_envelope(path.read_bytes()).unverified_payload)
    head["audit"] = {"count": state.count, "sha256": state.sha256}
    key = SigningKey.read(authority.layout.online / "head.pem")
    path.write_bytes(dsse.dump_envelope(sign_envelope(dsse.HEAD, json.dumps(head).encode(), ("", key))))
    later.verify(root_of(authority), NOW)
    assert code_of(lambda: later.verify(root_of(authority), NOW, earlier)) == "audit.chain"


def test_an_export_of_another_deployment_or_under_a_strangers_head_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    export = exported(authority, tmp_path / "export")
    assert code_of(lambda: export.verify(digest("another root"), NOW)) == "trust.root"
    path = tmp_path / "export" / "public" / "lists" / "head.json"
    key = SigningKey.generate()
    payload = dsse.parse_envelope(path.read_bytes()).unverified_payload
    path.write_bytes(dsse.dump_envelope(sign_envelope(dsse.HEAD, payload, ("", key))))
    assert code_of(lambda: export.verify(root_of(authority), NOW)) == "list.signature"


def test_a_head_that_stands_in_no_entry_is_told_from_one_that_does(authority: Authority, tmp_path: Path) -> None:
    genuine = authority.layout.head.read_bytes()
    revoke(authority, "c")
    export = exported(authority, tmp_path / "export")
    assert export.find_head(genuine) > 0
    head = json.loads(dsse.parse_envelope(genuine).unverified_payload) | {"seq": 10**6}
    key = SigningKey.read(authority.layout.online / "head.pem")
    forged = dsse.dump_envelope(sign_envelope(dsse.HEAD, json.dumps(head).encode(), ("", key)))
    assert code_of(lambda: export.find_head(forged)) == "audit.head"


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crl_server.operating.serving import utc_now

    authority = made(tmp_path / "acme", now=utc_now().replace(microsecond=0))
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    root = run("audit", "export", tmp_path / "a")["first_root"]
    run("revoke", digest(1), "--reason", "malicious")
    run("audit", "export", tmp_path / "b")
    monkeypatch.delenv("LOADLOCK_DEPLOYMENT")
    words = ("audit", "verify", tmp_path / "b", "--root", root, "--since", tmp_path / "a")
    done = run(*words, "--head", authority.layout.head)
    assert done["state"]["count"] == done["anchor"]["count"] + 1
    assert done["head"] == done["anchor"]["count"]
    assert refused("audit", "verify", tmp_path / "b", "--root", digest(1)).code == "trust.root"
    tampered(authority, edited)
    authority.close()
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    assert refused("audit", "export", tmp_path / "c").code == "audit.chain"
    assert not (tmp_path / "c").exists()
