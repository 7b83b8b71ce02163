"""The database is gone altogether: an empty one, of either engine, takes back what the public tree shows."""

from __future__ import annotations

import json
from pathlib import Path

from crl_server.revocation import standing
from crl_server.service import Authority
from crl_server.storage.backup import back_up, restore
from crl_server.trust.reclaiming import new_database, reclaim
from tests.crl_server.deployments import ACTOR, NOW, digest, made, revoke
from tests.crl_server.engines import databases
from tests.crl_server.takebacks import Reader, add_rule
from tests.hosts import code_of


def test_without_any_database_a_new_one_takes_it_all(engine: str, tmp_path: Path) -> None:
    authority = made(tmp_path / "acme")
    add_rule(authority, "team-b")
    revoke(authority, "early", "one")
    back_up(authority.layout, tmp_path / "backup", NOW)
    assert (restore(tmp_path / "backup", tmp_path / "copy", ACTOR, NOW).database) is (engine == "sqlite")
    before = Reader(authority)
    before.refresh()
    authority.close()
    for path in authority.layout.root.glob("server/loadlock.sqlite*"):
        path.unlink()
    if engine == "postgresql":
        authority.layout.database_address.write_text(f"url = {json.dumps(databases.new())}")
    assert code_of(lambda: Authority(authority.layout.root)) in ("usage.deployment", "usage.configuration")
    new_database(authority.layout, NOW)
    new = Authority(authority.layout.root, recovering=True)
    assert code_of(lambda: new.reconcile(NOW)) == "server.restored"
    assert reclaim(new, new.layout.public, ACTOR, NOW).entries == 2
    before.authority = new
    assert before.refresh().lists(digest("early"))
    with new.store.read() as ledger:
        assert [rule.id for rule in standing.in_force(ledger).rules] == ["R1"]
    new.close()
    again = Authority(authority.layout.root)
    again.reconcile(NOW)
    revoke(again, "later")
    before.authority = again
    assert before.refresh().lists(digest("later"))
    again.close()
