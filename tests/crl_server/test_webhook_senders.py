"""Several processes that tell one receiver, and what becomes of an event when one of them dies over it.

And the settings as they change while the server runs.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crl_server.api.app import create_app
from crl_server.operating.instruments import Instruments
from crl_server.operating.serving import utc_now
from crl_server.service import Authority
from crl_server.webhooks import outbox
from crl_server.webhooks.roster import Roster
from crl_server.webhooks.secrets import new_secret
from tests.crl_server.deployments import HOUR, digest, made, revoke
from tests.crl_server.receivers import Receiver, signed_by
from tests.crl_server.test_cli import run
from tests.project.tree import ROOT
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("engine")
SECRET = new_secret()
SENDER = """
import os, signal, sys, time
from datetime import timedelta
from pathlib import Path
from crl_server.operating.serving import utc_now
from crl_server.service import Authority
from crl_server.webhooks import outbox
from crl_server.webhooks.roster import Roster

if sys.argv[2] == "dies":  # the receiver has taken it, and nothing is struck out
    outbox.delivered = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
authority = Authority(Path(sys.argv[1]))
with Roster(authority, utc_now):
    print("ready", flush=True)
    sys.stdin.read()
authority.close()
"""


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme", now=utc_now().replace(microsecond=0))
    (new.layout.settings.parent / "soc.secret").write_text(SECRET)
    (new.layout.settings.parent / "soc.secret").chmod(0o600)
    yield new
    new.close()


def settle(authority: Authority, *receivers: tuple[str, Receiver], topics: str = '["revocation"]') -> None:
    """Write the settings with these receivers."""
    authority.layout.settings.write_text(
        "".join(
            f'[[webhook]]\nname = "{name}"\nurl = "{receiver.url}"\nsecret = "soc.secret"\ntopics = {topics}\n'
            for name, receiver in receivers
        )
    )


def begin(authority: Authority, *names: str) -> None:
    with authority.store.write() as ledger:
        for name in names:
            outbox.begin(ledger, name)


def pending(authority: Authority) -> int:
    with authority.store.read() as ledger:
        return outbox.backlog(ledger, "soc").pending + outbox.behind(ledger, "soc")


@contextmanager
def sender(authority: Authority, how: str = "lives") -> Iterator[subprocess.Popen[str]]:
    """A process of its own that tells whom the settings name."""
    command = [sys.executable, "-c", SENDER, str(authority.layout.root), how]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            if process.poll() is None and process.stdin is not None:
                process.stdin.close()
                process.wait(20)


# -- several of them ---------------------------------------------------------------------------------------------------


def test_of_several_processes_each_event_is_told_by_one(authority: Authority) -> None:
    begin(authority, "soc")
    with Receiver() as receiver:
        settle(authority, ("soc", receiver))
        with sender(authority), sender(authority):
            for label in range(8):
                revoke(authority, label, now=utc_now())
            until(lambda: len(receiver.heard) >= 8 and not pending(authority))
    told = Counter(heard.headers["webhook-id"] for heard in receiver.heard)
    assert set(told.values()) == {1}
    assert {event["subject"] for event in receiver.events} == {digest(label) for label in range(8)}


def test_what_a_process_died_over_is_told_again_under_the_same_id(authority: Authority) -> None:
    begin(authority, "soc")
    revoke(authority, "first", now=utc_now())
    with Receiver() as receiver:
        settle(authority, ("soc", receiver))
        with sender(authority, "dies") as process:
            assert process.wait(20) == -signal.SIGKILL
        assert len(receiver.heard) == 1
        with authority.store.read() as ledger:
            assert not outbox.is_due(ledger, "soc", utc_now())  # it is its own for a while
        with Roster(authority, lambda: utc_now() + HOUR, look=0.05):
            until(lambda: not pending(authority))
    first, second = receiver.heard
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert signed_by(second, SECRET)


# -- settings that change ----------------------------------------------------------------------------------------------


def test_webhooks_are_taken_up_changed_and_let_go_while_the_server_runs(authority: Authority) -> None:
    with Receiver() as one, Receiver() as two, Roster(authority, utc_now, look=0.05) as roster:
        revoke(authority, "before", now=utc_now())
        settle(authority, ("soc", one))
        until(lambda: [worker.name for worker in roster] == ["soc"] and known(authority, "soc"))
        revoke(authority, "first", now=utc_now())
        until(lambda: len(one.heard) == 1)
        settle(authority, ("soc", two))
        until(lambda: len(list(roster)) == 1 and not pending(authority))
        until(lambda: tell(authority, two))
        assert len(one.heard) == 1
        (worker,) = roster
        until(lambda: worker.sent.delivered == len(one.heard) + len(two.heard))  # counted on, once the receiver has it
        settle(authority)
        until(lambda: not list(roster))
        heard = len(two.heard)
        revoke(authority, "unheard", now=utc_now())
    assert [event["subject"] for event in one.events] == [digest("first")]
    assert len(two.heard) == heard


def known(authority: Authority, name: str) -> bool:
    with authority.store.read() as ledger:
        return outbox.backlog(ledger, name).position >= 0


def tell(authority: Authority, receiver: Receiver) -> bool:
    """Revoke something else; whether the receiver has ever been told of anything."""
    if not receiver.heard and not pending(authority):
        revoke(authority, f"another {utc_now().isoformat()}", now=utc_now())
    return bool(receiver.heard)


def test_settings_that_cannot_be_read_leave_everybody_told(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    begin(authority, "soc")
    with Receiver() as receiver:
        settle(authority, ("soc", receiver))
        with Roster(authority, utc_now, look=0.05) as roster:
            until(lambda: list(roster))
            authority.layout.settings.write_text("[[webhook]]\nname = 1\n")
            until(lambda: "settings are not taken up" in caplog.text)
            revoke(authority, "first", now=utc_now())
            until(lambda: receiver.heard)
            settle(authority)
            until(lambda: not list(roster))


def test_commands_are_taken_up_and_metrics_follow(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(authority.layout.root))
    with Receiver() as receiver, Roster(authority, utc_now, look=0.05) as roster:
        instruments = Instruments(webhooks=roster)
        create_app(authority, utc_now, instruments=instruments)

        def shown() -> float | None:
            return instruments.registry.get_sample_value("loadlock_webhook_deliveries_total", {"webhook": "soc"})

        assert shown() is None
        for count in (1, 2):
            secret = run("webhook", "add", "soc", receiver.url, "--topic", "revocation")["secret"]
            revoke(authority, count, now=utc_now())  # told of from the moment that it was added
            until(lambda count=count: len(receiver.heard) == count)  # type: ignore[misc]
            assert signed_by(receiver.heard[-1], secret)
            until(lambda count=count: shown() == count)  # type: ignore[misc]
            run("webhook", "rm", "soc")  # and added again before anybody has looked
    assert {event["subject"] for event in receiver.events} == {digest(1), digest(2)}
