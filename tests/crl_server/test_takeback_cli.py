"""Rules, reinstatement and checkpoints as people call them: on the deployment's directory, and through the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crl_server.operating.serving import utc_now
from crl_server.service import Authority
from tests.crl_server.deployments import digest, made
from tests.crl_server.live import Live
from tests.crl_server.takebacks import admit, root_of, subject
from tests.crl_server.test_cli import refused, run
from tests.crl_server.test_osv_rules import advisory

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """A demo deployment with two plugins, which the commands find by themselves."""
    found = made(tmp_path / "acme", now=utc_now().replace(microsecond=0))
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    admit(found, subject("a"))
    admit(found, subject("b", signer="team-b", plugin="pdf_exporter"))
    yield found
    found.close()


RULES = [
    ("--purl", "pkg:pypi/requests", "--range", "<2.32"),
    ("--purl", "pkg:pypi/requests"),
    ("--signer", "team-a"),
    ("--signer", digest("key")),
    ("--builder", "https://ci.example/builder"),
    ("--source", "https://git.example/acme"),
    ("--source", f"https://git.example/acme#{'3' * 40}"),
    ("--plugin", "csv_exporter"),
    ("--plugin", "csv_exporter<=1.0"),
]
REACHED = [2, 2, 1, 0, 2, 2, 0, 1, 1]


@pytest.mark.parametrize(
    "words",
    [
        (),
        (digest(1), "--signer", "team-a"),
        (digest(1), "--except", digest(2)),
        (digest(1), "--range", "<2"),
        ("--plugin", "csv_exporter", "--range", "<2"),
        ("--purl", "requests"),
        ("--purl", "pkg:pypi/requests", "--range", "new"),
        ("--signer", "sha256:00"),
        ("--plugin", "<2"),
        ("--plugin", "csv_exporter < or so"),
        ("--builder", ""),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(authority: Authority, words: tuple[str, ...]) -> None:
    assert refused("revoke", *words, "--reason", "malicious").code == "usage.arguments"
    assert authority.standing(utc_now()).revocations.head.seq == 0


@pytest.mark.parametrize(("words", "reached"), list(zip(RULES, REACHED, strict=True)))
def test_each_kind_of_rule_is_tried_and_then_put_in_force(
    authority: Authority, words: tuple[str, ...], reached: int
) -> None:
    tried = run("revoke", *words, "--reason", "vulnerability", "--dry-run")
    assert (tried["dry_run"], tried["artifacts"], len(tried["reached"])) == (True, reached, reached)
    assert authority.standing(utc_now()).revocations.head.seq == 0
    done = run("revoke", *words, "--reason", "vulnerability", "--except", digest("x"))
    assert (done["rule"], done["seq"], len(done.get("revoked", []))) == ("R1", 1, reached)
    (rule,) = authority.standing(utc_now()).revocations.rules.rules
    assert rule.excepted == (digest("x"),)


def test_digests_are_tried_too(authority: Authority) -> None:
    tried = run("revoke", digest("a"), digest("unknown"), "--reason", "mistake", "--dry-run")
    assert [found["plugin_id"] for found in tried["reached"]] == ["csv_exporter"]
    assert not tried["reached"][0]["listed"]


def test_the_whole_way_back(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {name: run("token", "create", name, "--role", name)["token"] for name in ("revoker", "approver")}
    root, keys, dossier = root_of(authority), authority.layout.offline, tmp_path / "checkpoint"

    def ask(role: str, *words: object, server: str) -> dict[str, object]:
        monkeypatch.setenv("LOADLOCK_TOKEN", tokens[role])
        return run(*words, "--server", server)

    with Live(authority) as live:
        live.now = utc_now()
        tried = ask("revoker", "revoke", "--signer", "team-a", "--reason", "mistake", "--dry-run", server=live.address)
        assert tried["artifacts"] == 1
        ask("revoker", "revoke", "--signer", "team-a", "--reason", "mistake", server=live.address)
        asked = ask("revoker", "reinstate", digest("a"), "--note", "all is well", server=live.address)
        monkeypatch.setenv("LOADLOCK_TOKEN", tokens["revoker"])
        assert refused("approve", asked["id"], "--server", live.address).code == "auth.role"
        ask("approver", "approve", asked["id"], server=live.address)
        own = ask("approver", "reinstate", "R1", "--note", "the key is safe", server=live.address)
        assert refused("approve", own["id"], "--server", live.address).code == "reinstatement.own"
        assert refused("approve", "99", "--server", live.address).code == "reinstatement.unknown"
        headers = {"Authorization": f"Bearer {tokens['revoker']}"}
        listed = live.ask("GET", "/v1/reinstatements", headers=headers).json["reinstatements"]
        assert [(row["id"], row["approved_by"]) for row in listed] == [(1, "token:approver"), (2, None)]
        shown = live.ask("GET", "/v1/rules", headers=headers).json["rules"]
        assert [rule["id"] for rule in shown] == ["R1"]
    prepared = run("checkpoint", "prepare", dossier)
    assert (prepared["epoch"], prepared["taken_back"], prepared["requests"]) == (2, [digest("a")], [1])
    assert refused("checkpoint", "publish", dossier).code == "checkpoint.signatures"
    assert refused("checkpoint", "sign", dossier, "--root", digest("other")).code == "checkpoint.unfounded"
    shown = run("checkpoint", "sign", dossier, "--root", root)
    assert (shown["signatures"], len(shown["digests"]), len(shown["rules"]), shown["cut"]) == (0, 1, 1, False)
    for number in (1, 2):
        signed = run("checkpoint", "sign", dossier, "--root", root, "--key", keys / f"checkpoint-{number}.pem")
        assert signed["signatures"] == number
    assert run("checkpoint", "publish", dossier) == {"epoch": 2, "seq": 1, "entries": 0}
    published = authority.standing(utc_now()).revocations
    assert not published.lists(digest("a"))
    assert published.rules.rules[0].excepted == (digest("a"),)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((digest(1), "--note", "x"), "reinstatement.unknown"),
        (("R1", "--note", "x"), "reinstatement.unknown"),
        (("R1", "--note", ""), "usage.arguments"),
        (("R1", "--from-rule", "R2", "--note", "x"), "usage.arguments"),
        ((digest(1), "--from-rule", "1", "--note", "x"), "usage.arguments"),
        ((digest(1),), "usage.arguments"),
    ],
)
def test_a_reinstatement_that_makes_no_sense_is_refused(
    authority: Authority, words: tuple[str, ...], code: str
) -> None:
    assert refused("reinstate", *words).code == code


def test_many_at_once_from_a_file_and_a_feed(authority: Authority, tmp_path: Path) -> None:
    digests = tmp_path / "digests.txt"
    digests.write_text(f"# of the incident\n{digest('f1')}\n\n{digest('f2')[7:]}  # the second\n")
    feed = tmp_path / "feed"
    feed.mkdir()
    one = advisory([{"introduced": "0"}, {"fixed": "2.32"}], summary="bad")
    one["affected"][0]["package"]["name"] = "requests"
    (feed / "one.json").write_text(json.dumps(one))
    (feed / "others.json").write_text(json.dumps([advisory(versions=("1.0",)), advisory(versions=("1.1",))]))
    words = (
        "revoke",
        digest("f3"),
        "--file",
        digests,
        "--osv",
        feed,
        "--reason",
        "vulnerability",
        "--severity",
        "high",
    )
    tried = run(*words, "--dry-run")
    assert (tried["dry_run"], tried["artifacts"]) == (True, 2)
    done = run(*words)
    assert (done["listed"], done["rules"]) == (5, ["R1", "R2", "R3"])
    published = authority.standing(utc_now()).revocations
    assert all(published.lists(digest(label)) for label in ("f1", "f2", "f3"))
    assert run(*words)["in_force"] == 3


@pytest.mark.parametrize(
    "words",
    [
        ("--file", "FILE", "--purl", "pkg:pypi/x"),
        ("--file", "FILE", "--except", digest(1)),
        ("--osv", "EMPTY"),
        ("--file", "WRONG"),
        ("--once", digest(1)),
    ],
)
def test_many_at_once_said_wrongly(authority: Authority, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_text(digest(1))
    (tmp_path / "WRONG").write_text("x.whl")
    places = [str(tmp_path / word) if word.isupper() else word for word in words]
    assert refused("revoke", *places, "--reason", "mistake").code == "usage.arguments"
