"""``loadlock webhook``: what it writes into the settings, what it says, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from crl_server.layout import Layout
from crl_server.operating.serving import utc_now
from crl_server.service import Authority
from crl_server.settings import read_settings
from crl_server.webhooks import outbox
from crl_server.webhooks.worker import WebhookWorker
from tests.crl_server.deployments import HOUR, made, revoke
from tests.crl_server.receivers import Receiver, signed_by, status
from tests.crl_server.test_cli import refused, run
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("engine")

SETTINGS = """# Written by people, and kept.
[metrics]
access = "token"  # not open
"""


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made(tmp_path / "acme", now=utc_now().replace(microsecond=0)).close()
    Layout(tmp_path / "acme").settings.write_text(SETTINGS)
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    return tmp_path / "acme"


def test_one_is_added_tried_listed_and_removed(deployment: Path) -> None:
    layout = Layout(deployment)
    with Receiver(status(204), status(500)) as receiver:
        added = run("webhook", "add", "soc", receiver.url, "--topic", "revocation")
        path = layout.settings.parent / "webhook-soc.secret"
        assert (path.read_text().strip(), path.stat().st_mode & 0o777) == (added["secret"], 0o600)
        assert layout.settings.read_text().startswith(SETTINGS)
        (found,) = read_settings(layout.settings).webhook
        assert (found.name, found.url, found.topics) == ("soc", receiver.url, ("revocation",))
        assert run("webhook", "test", "soc")["status"] == 204
        assert refused("webhook", "test", "soc").code == "unreachable.webhook"
    assert all(signed_by(heard, added["secret"]) for heard in receiver.heard)
    assert [event["type"] for event in receiver.events] == ["dev.loadlock.test"] * 2
    assert len({event["id"] for event in receiver.events}) == 2
    listed = run("webhook", "ls")["webhooks"]
    assert listed == [{"name": "soc", "topics": ["revocation"], "pending": 0, "given_up": 0}]
    run("webhook", "rm", "soc")
    assert layout.settings.read_text().strip() == SETTINGS.strip()
    assert run("webhook", "ls")["webhooks"] == []
    authority = Authority(deployment)
    with authority.store.read() as ledger:
        assert outbox.backlog(ledger, "soc") == (0, 0, -1)
    authority.close()


def test_what_was_given_up_is_told_again(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "ATTEMPTS", 1)
    with Receiver(status(500)) as receiver:
        run("webhook", "add", "soc", receiver.url)
        authority = Authority(deployment)
        (webhook,) = authority.settings.webhook
        with authority.store.write() as ledger:
            assert outbox.fill(ledger, "soc", webhook.topics, utc_now()) == 0
        revoke(authority, "first", now=utc_now())
        with WebhookWorker(authority, webhook, lambda: utc_now() + HOUR, look=0.01):
            until(lambda: run("webhook", "ls")["webhooks"][0]["given_up"] == 1)
            assert run("webhook", "retry", "soc")["events"] == 1
            until(lambda: run("webhook", "ls")["webhooks"][0]["pending"] == 0)
        authority.close()
    assert len(receiver.heard) == 2


def test_what_cannot_be_is_refused_and_changes_nothing(deployment: Path) -> None:
    before = sorted((deployment / "server").iterdir()), Layout(deployment).settings.read_text()
    assert refused("webhook", "add", "soc", "http://hooks.example/").code == "usage.configuration"
    assert refused("webhook", "add", "not a name", "https://hooks.example/").code == "usage.arguments"
    for words in (("test", "soc"), ("rm", "soc"), ("retry", "soc")):
        assert refused("webhook", *words).code == "usage.arguments"
    assert (sorted((deployment / "server").iterdir()), Layout(deployment).settings.read_text()) == before
    run("webhook", "add", "soc", "https://hooks.example/")
    assert refused("webhook", "add", "soc", "https://hooks.example/").code == "usage.exists"
