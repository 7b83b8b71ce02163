"""Webhooks: what is committed is told of, signed, at least once, whatever receiver and server do meanwhile."""

from __future__ import annotations

import base64
import json
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from crl_server.layout import Layout
from crl_server.operating.instruments import Instruments
from crl_server.operating.notices import note
from crl_server.operating.serving import utc_now
from crl_server.records.audit import parse_entry
from crl_server.service import Authority
from crl_server.settings import Webhook
from crl_server.webhooks import outbox
from crl_server.webhooks.secrets import new_secret, read_secrets, sign
from crl_server.webhooks.sender import check_address, send
from crl_server.webhooks.worker import WebhookWorker
from tests.crl_server.deployments import ACTOR, HOUR, NOW, SERVER, digest, made, revoke
from tests.crl_server.receivers import CloudEvent, Receiver, cut, signed_by, status
from tests.crl_server.takebacks import add_rule, checkpoint
from tests.crl_server.test_cli import serving
from tests.project.tree import ROOT
from tests.waiting import until
from verifier.errors import LoadlockError
from verifier.formats.revocations import sha256_hex
from verifier.formats.strict_json import parse
from verifier.formats.text import Name

pytestmark = pytest.mark.usefixtures("engine")

SPEC = (ROOT / "docs" / "spec" / "webhooks.md").read_text("utf-8")
SECRET = new_secret()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    new = made(tmp_path / "acme")
    write_secret(new.layout)
    yield new
    new.close()


def write_secret(layout: Layout, *lines: str, mode: int = 0o600) -> Path:
    path = layout.settings.parent / "soc.secret"
    path.write_text("\n".join(lines or (SECRET,)))
    path.chmod(mode)
    return path


def webhook(url: str, **more: object) -> Webhook:
    return Webhook(name=Name("soc"), url=url, secret="soc.secret", **more)  # type: ignore[arg-type]


class Ticking:
    """A clock that each look moves on, so that whatever was put off is due again."""

    def __init__(self, step: timedelta = 7 * HOUR) -> None:
        self.now = NOW
        self._step = step
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            self.now += self._step
            return self.now


def worker(
    authority: Authority, url: str, clock: Callable[[], datetime] = lambda: NOW, deadline: float = 5.0, **more: object
) -> WebhookWorker:
    return WebhookWorker(authority, webhook(url, **more), clock, look=0.01, deadline=deadline)


def begin(authority: Authority) -> None:
    """From here on the webhook is told."""
    with authority.store.write() as ledger:
        outbox.begin(ledger, "soc")


def backlog(authority: Authority) -> tuple[int, int]:
    with authority.store.read() as ledger:
        found = outbox.backlog(ledger, "soc")
    return found.pending, found.dead


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_revocation_is_told_of_as_a_signed_cloudevent(authority: Authority) -> None:
    begin(authority)
    revoke(authority, "first")
    with Receiver() as receiver, worker(authority, receiver.url):
        until(lambda: receiver.heard and backlog(authority) == (0, 0))
    (heard,) = receiver.heard
    assert heard.path == "/hook?key=hidden"
    assert heard.headers["content-type"].startswith("application/cloudevents+json")
    assert signed_by(heard, SECRET)
    assert not signed_by(heard, new_secret())
    assert int(heard.headers["webhook-timestamp"]) == NOW.timestamp()
    event = parse(heard.body, CloudEvent, limit=16384, what="event")
    assert (event.specversion, event.source, event.type, event.subject, event.time) == (
        "1.0", SERVER, "dev.loadlock.artifact.revoked", digest("first"), "2026-01-31T12:00:00Z",
    )  # fmt: skip
    assert event.id == heard.headers["webhook-id"]
    with authority.store.read() as ledger:
        (line,) = ledger.audit_lines(event.data["audit"]["index"] - 1, 1)
    assert event.data == {
        "actor": ACTOR, "reason": "malicious", "note": "", "seq": 1,
        "audit": {"index": parse_entry(line).index, "sha256": sha256_hex(line)},
    }  # fmt: skip


def test_everything_of_the_topics_is_told_in_its_order(authority: Authority, tmp_path: Path) -> None:
    begin(authority)
    revoke(authority, "first", "second")
    add_rule(authority)
    checkpoint(authority, tmp_path / "dossier")
    note(authority, NOW + 17 * HOUR)
    with Receiver() as receiver, worker(authority, receiver.url, lambda: NOW + 17 * HOUR):
        until(lambda: len(receiver.heard) >= 6 and backlog(authority) == (0, 0))
    assert [event["type"].removeprefix("dev.loadlock.") for event in receiver.events] == [
        "artifact.revoked", "artifact.revoked", "rule.added", "checkpoint.published",
        *["expiry.approaching"] * (len(receiver.heard) - 4),
    ]  # fmt: skip
    assert len({event["id"] for event in receiver.events}) == len(receiver.heard)


def test_only_the_topics_asked_for_are_told(authority: Authority) -> None:
    begin(authority)
    revoke(authority, "first")
    add_rule(authority)
    with Receiver() as receiver, worker(authority, receiver.url, topics=("rule",)):
        until(lambda: receiver.heard and backlog(authority) == (0, 0))
    assert [event["type"] for event in receiver.events] == ["dev.loadlock.rule.added"]


def test_a_new_webhook_is_not_told_of_what_was_before(authority: Authority) -> None:
    revoke(authority, "old")
    with Receiver() as receiver, worker(authority, receiver.url):
        until(lambda: _known(authority))
        revoke(authority, "new")
        until(lambda: receiver.heard)
    assert [event["subject"] for event in receiver.events] == [digest("new")]


def _known(authority: Authority) -> bool:
    with authority.store.read() as ledger:
        return outbox.backlog(ledger, "soc").position >= 0


def test_what_expires_is_told_once_and_again_when_it_was_renewed(authority: Authority) -> None:
    def told() -> list[tuple[str, str]]:
        with authority.store.read() as ledger:
            entries = [parse_entry(line) for line in ledger.audit_lines()]
        return [(entry.subject, entry.detail["ends"]) for entry in entries if entry.action == "expiry.warn"]

    note(authority, NOW)
    assert told() == []
    for hours in (17, 18):
        note(authority, NOW + hours * HOUR)
    assert [subject for subject, _ in told()] == ["timestamp", "head"]
    authority.maintain(NOW + 18 * HOUR)
    note(authority, NOW + 19 * HOUR)
    assert len(told()) == 2
    note(authority, NOW + 18 * HOUR + 17 * HOUR)
    assert len(told()) == 4


# -- receivers that fail -----------------------------------------------------------------------------------------------


def test_a_receiver_that_fails_is_told_again_until_it_takes_the_event(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    begin(authority)
    revoke(authority, "first")
    with Receiver(cut, status(500), status(302, Location="http://127.0.0.1:1/"), status(404)) as receiver:
        receiver.answers.insert(1, receiver.hang)
        receiver.answers.insert(1, receiver.trickle)
        with worker(authority, receiver.url, Ticking(), deadline=0.1) as running:
            until(lambda: running.sent.delivered)
    assert len(receiver.heard) == 7
    assert len({(heard.headers["webhook-id"], heard.body) for heard in receiver.heard}) == 1
    assert len({heard.headers["webhook-timestamp"] for heard in receiver.heard}) == 7
    assert all(signed_by(heard, SECRET) for heard in receiver.heard)
    assert (running.sent.delivered, running.sent.failed, backlog(authority)) == (1, 6, (0, 0))
    assert "status 302" in caplog.text
    assert "no answer within 0.1 s" in caplog.text
    assert "hidden" not in caplog.text


def test_what_is_put_off_does_not_keep_what_comes_after(authority: Authority) -> None:
    begin(authority)
    revoke(authority, "first")
    with Receiver(status(500)) as receiver, worker(authority, receiver.url):
        until(lambda: backlog(authority) == (1, 0) and receiver.heard)
        revoke(authority, "second")
        until(lambda: len(receiver.heard) == 2)
    assert [event["subject"] for event in receiver.events] == [digest("first"), digest("second")]


def test_one_that_hangs_keeps_no_other_waiting_and_no_revocation(authority: Authority) -> None:
    begin(authority)
    with Receiver() as slow, Receiver() as fast:
        slow.answers.append(slow.hang)
        other = WebhookWorker(
            authority, Webhook(name=Name("b"), url=fast.url, secret="soc.secret"), lambda: NOW, look=0.01
        )
        with authority.store.write() as ledger:
            outbox.begin(ledger, "b")
        with worker(authority, slow.url, deadline=60), other:
            revoke(authority, "first")
            until(lambda: slow.heard and fast.heard)
            revoke(authority, "second")
            until(lambda: len(fast.heard) == 2)
            assert len(slow.heard) == 1
            slow.ended.set()


def test_after_its_attempts_an_event_is_given_up_and_told_of(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    begin(authority)
    revoke(authority, "first")
    clock = Ticking()
    with Receiver(*[status(503)] * outbox.ATTEMPTS) as receiver:
        with worker(authority, receiver.url, clock), caplog.at_level(logging.ERROR):
            until(lambda: backlog(authority) == (0, 1))
        assert len(receiver.heard) == outbox.ATTEMPTS
        assert "given up" in caplog.text
        assert any("soc was not told of 1 events" in warning for warning in authority.warnings(NOW))
        with authority.store.write() as ledger:
            assert outbox.revive(ledger, "soc", clock.now) == 1
        with worker(authority, receiver.url, clock):
            until(lambda: backlog(authority) == (0, 0))
    assert authority.warnings(NOW) == ()


def test_metrics_tell_of_the_backlog(authority: Authority) -> None:
    begin(authority)
    revoke(authority, "first", "second")
    with Receiver(status(500)) as receiver, worker(authority, receiver.url) as running:
        until(lambda: running.sent.delivered and running.sent.failed)
    instruments = Instruments(webhooks=[running])
    instruments.watch(authority, lambda: NOW)
    found = {
        sample.name: sample.value
        for family in instruments.registry.collect()
        for sample in family.samples
        if sample.labels == {"webhook": "soc"}
    }
    assert found == {
        "loadlock_webhook_pending": 1, "loadlock_webhook_given_up": 0, "loadlock_webhook_deliveries_total": 1,
        "loadlock_webhook_failures_total": 1,
    }  # fmt: skip


def test_pauses_double_with_jitter_up_to_a_longest() -> None:
    for attempts in range(1, 30):
        whole = min(outbox.FIRST_PAUSE * 2 ** (attempts - 1), outbox.LONGEST_PAUSE)
        found = {outbox.pause(attempts) for _ in range(50)}
        assert len(found) > 1
        assert all(whole / 2 <= pause <= whole for pause in found)
    shortest = sum((min(outbox.FIRST_PAUSE * 2**n, outbox.LONGEST_PAUSE) for n in range(14)), timedelta()) / 2
    assert 5 * HOUR < shortest < 12 * HOUR


def test_a_server_killed_between_commit_and_delivery_loses_nothing(tmp_path: Path) -> None:
    authority = made(tmp_path / "acme", now=utc_now().replace(microsecond=0))
    write_secret(authority.layout)
    with Receiver() as receiver:
        receiver.answers.append(receiver.hang)
        text = f'[[webhook]]\nname = "soc"\nurl = "{receiver.url}"\nsecret = "soc.secret"\n'
        authority.layout.settings.write_text(text)
        with serving(tmp_path / "acme") as process:
            assert process.stdout is not None
            json.loads(process.stdout.readline())
            until(lambda: _known(authority))
            revoke(authority, "first", "second", now=utc_now())
            until(lambda: receiver.heard)
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        later = utc_now() + outbox.LEASE + HOUR
        with worker(authority, receiver.url, lambda: later):
            until(lambda: len(receiver.heard) == 3 and backlog(authority) == (0, 0))
    authority.close()
    first, *rest = receiver.heard
    assert sorted(heard.event["subject"] for heard in rest) == sorted([digest("first"), digest("second")])
    assert first.headers["webhook-id"] in {heard.headers["webhook-id"] for heard in rest}


def test_a_server_ends_in_time_though_a_receiver_hangs(tmp_path: Path) -> None:
    authority = made(tmp_path / "acme", now=utc_now().replace(microsecond=0))
    write_secret(authority.layout)
    with Receiver() as receiver:
        receiver.answers.append(receiver.hang)
        text = f'[[webhook]]\nname = "soc"\nurl = "{receiver.url}"\nsecret = "soc.secret"\n'
        authority.layout.settings.write_text(text)
        with serving(tmp_path / "acme") as process:
            assert process.stdout is not None
            json.loads(process.stdout.readline())
            until(lambda: _known(authority))
            revoke(authority, "first", now=utc_now())
            until(lambda: receiver.heard)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        assert process.returncode == 0
    authority.close()


# -- secrets and addresses ---------------------------------------------------------------------------------------------


def test_both_secrets_sign_while_one_is_changed(authority: Authority) -> None:
    begin(authority)
    new = new_secret()
    write_secret(authority.layout, new, SECRET)
    revoke(authority, "first")
    with Receiver() as receiver, worker(authority, receiver.url):
        until(lambda: receiver.heard)
    assert signed_by(receiver.heard[0], SECRET)
    assert signed_by(receiver.heard[0], new)


def test_the_signature_is_that_of_the_standard() -> None:
    # The example in the documentation of the standard's first implementation.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert sign((key,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize(
    ("lines", "mode"),
    [
        ((SECRET,), 0o644), ((SECRET,), 0o640), (("",), 0o600), ((SECRET,) * 3, 0o600), (("whsec_AAAA",), 0o600),
        (("whsec_!" + "A" * 40,), 0o600), ((SECRET.removeprefix("whsec_"),), 0o600), (("whsec_" + "A" * 100,), 0o600),
    ],
)  # fmt: skip
def test_a_secret_that_is_none_or_open_to_others_signs_nothing(
    authority: Authority, lines: tuple[str, ...], mode: int
) -> None:
    path = write_secret(authority.layout, *lines, mode=mode)
    with pytest.raises(LoadlockError) as refusal:
        read_secrets(path)
    assert refusal.value.code == "usage.configuration"
    assert SECRET not in str(refusal.value)
    begin(authority)
    revoke(authority, "first")
    with Receiver() as receiver, worker(authority, receiver.url) as running:
        until(lambda: running.sent.failed)
    assert receiver.heard == []


@pytest.mark.parametrize(
    ("address", "scheme", "internal", "allowed"),
    [
        ("127.0.0.1", "http", False, True), ("::1", "http", False, True), ("10.0.0.1", "http", True, False),
        ("93.184.216.34", "http", True, False), ("93.184.216.34", "https", False, True),
        ("2606:2800:220:1::1", "https", False, True), ("10.1.2.3", "https", False, False),
        ("10.1.2.3", "https", True, True), ("192.168.1.1", "https", False, False), ("127.0.0.1", "https", False, False),
        ("127.0.0.1", "https", True, True), ("169.254.169.254", "https", True, False),
        ("fe80::1%eth0", "https", True, False), ("0.0.0.0", "https", True, False), ("224.0.0.1", "https", True, False),
        ("::ffff:10.0.0.1", "https", False, False), ("2002:7f00:1::", "https", False, False),
        ("2002:a9fe:a9fe::", "https", True, False), ("64:ff9b::7f00:1", "https", False, False),
        ("::ffff:169.254.169.254", "https", True, False),
        ("::ffff:127.0.0.1", "http", False, True), ("fd00::1", "https", False, False), ("fd00::1", "https", True, True),
    ],
)  # fmt: skip
def test_addresses(address: str, scheme: str, internal: bool, allowed: bool) -> None:
    if allowed:
        check_address(address, scheme, "hooks.example", internal=internal)
        return
    with pytest.raises(LoadlockError) as refusal:
        check_address(address, scheme, "hooks.example", internal=internal)
    assert refusal.value.code == "webhook.address"


def test_a_name_that_leads_inside_is_refused_before_anything_is_sent() -> None:
    with Receiver() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        with pytest.raises(LoadlockError) as refusal:
            send(f"https://localhost:{port}/", b"{}", {}, internal=False)
    assert (refusal.value.code, receiver.heard) == ("webhook.address", [])


def test_a_receiver_without_tls_is_not_told_over_https() -> None:
    with Receiver() as receiver, pytest.raises(LoadlockError) as refusal:
        send(receiver.url.replace("http:", "https:"), b"{}", {}, internal=True, deadline=2)
    assert (refusal.value.code, receiver.heard) == ("unreachable.webhook", [])


def test_an_answer_without_an_end_is_cut() -> None:
    def endless(request: object) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")  # type: ignore[attr-defined]
        request.wfile.write(b"x" * 10_000_000)  # type: ignore[attr-defined]

    with Receiver(endless) as receiver:
        assert send(receiver.url, b"{}", {}, internal=False) == 200


def test_the_specification_states_what_the_code_does() -> None:
    (example,) = re.findall(r"\n(\{\"specversion.*?)\n```", SPEC, re.DOTALL)
    parse("".join(example.split("\n")).encode(), CloudEvent, limit=16384, what="event")
    assert f"| attempts | {outbox.ATTEMPTS} |" in SPEC
