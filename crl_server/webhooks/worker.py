"""Webhooks beside the service: a thread for each receiver, so that one that hangs keeps nobody else waiting.

A delivery is begun in a transaction of its own, sent outside of any, and struck out when the receiver has taken it: who
dies in between leaves it to whoever comes next, in this process or another one. What is sent twice has the same id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from crl_server.background import Background
from crl_server.layout import Layout
from crl_server.operating import tracing
from crl_server.service import Authority
from crl_server.settings import Webhook
from crl_server.storage.ledger import Ledger
from crl_server.webhooks import outbox
from crl_server.webhooks.events import MEDIA_TYPE, Event, event_of
from crl_server.webhooks.outbox import Taken
from crl_server.webhooks.secrets import read_secrets, sign
from crl_server.webhooks.sender import DEADLINE, send
from verifier.errors import LoadlockError

LOOK = 0.25
"""How often, in seconds, it is looked for something to send."""
AFTER_ERROR = 5.0
"""How long, in seconds, to wait when the database does not answer."""
PATIENCE = 5.0
"""How long, in seconds, a delivery that is under way may go on once the service ends; it is begun again later then."""

log = logging.getLogger("crl_server.webhook")


@dataclass
class Sent:
    """How many deliveries ended well and how many attempts failed, since the process started."""

    delivered: int = 0
    failed: int = 0


def post(webhook: Webhook, layout: Layout, event: Event, now: datetime, deadline: float = DEADLINE) -> int:
    """Sign an event and send it once; the receiver's status.

    Raises:
        Refused: ``webhook.address``.
        Unreachable: ``unreachable.webhook``.
        UsageError: the secret cannot be used.
    """
    timestamp = int(now.timestamp())
    keys = read_secrets(layout.settings.parent / webhook.secret)
    headers = {
        "Content-Type": MEDIA_TYPE,
        "User-Agent": "loadlock",
        "webhook-id": event.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(keys, event.id, timestamp, event.body),
    }
    with tracing.span("webhook.deliver") as span:
        span.set("loadlock.webhook", webhook.name)
        return send(webhook.url, event.body, headers, internal=webhook.internal, deadline=deadline)


class WebhookWorker(Background):
    """Tells one receiver while inside its block.

    Args:
        authority: whose events they are.
        webhook: the receiver.
        clock: tells the time, aware and in UTC.
        look: seconds between two looks.
        deadline: seconds after which one delivery is given up.
        sent: where to count; another worker may have begun to.

    Attributes:
        sent: how it fares; another thread may read it at any time.
    """

    def __init__(
        self,
        authority: Authority,
        webhook: Webhook,
        clock: Callable[[], datetime],
        *,
        look: float = LOOK,
        deadline: float = DEADLINE,
        sent: Sent | None = None,
    ) -> None:
        super().__init__(f"webhook-{webhook.name}", PATIENCE)
        self.name = webhook.name
        self.sent = sent or Sent()
        self._authority, self._webhook, self._clock = authority, webhook, clock
        self._look, self._deadline, self._begun = look, deadline, False

    def _run(self) -> None:
        pause = self._look
        while not self._end.wait(pause):
            pause = self._look
            try:
                while not self._end.is_set() and self._step():
                    pass
            except LoadlockError as error:
                log.error("the webhook %s is put off: %s", self.name, error)
                pause = AFTER_ERROR
            except Exception:
                # Whatever it was, the next look may succeed; what is to be told is written down.
                log.exception("the webhook %s met an error nobody foresaw", self.name)
                pause = AFTER_ERROR

    def _step(self) -> bool:
        """Write down what is new, and send the first delivery that is due; whether there was anything to do."""
        store, now = self._authority.store, self._clock()
        if not self._begun:
            with store.write() as ledger:
                outbox.begin(ledger, self.name)
            self._begun = True
        with store.read() as ledger:
            new = outbox.behind(ledger, self.name)
            due = outbox.is_due(ledger, self.name, now)
        if new:
            with store.write() as ledger:
                outbox.fill(ledger, self.name, self._webhook.topics, now)
            return True
        return due and self._deliver(now)

    def _deliver(self, now: datetime) -> bool:
        with self._authority.store.claim() as ledger:
            taken = outbox.claim(ledger, self.name, now)
            event = None if taken is None else self._event(ledger, taken.number)
        if taken is None or event is None:
            return False
        self._send(taken, event, now)
        return True

    def _event(self, ledger: Ledger, number: int) -> Event:
        (line,) = ledger.audit_lines(number - 1, 1)
        return event_of(line, self._authority.record.server)

    def _send(self, taken: Taken, event: Event, now: datetime) -> None:
        try:
            post(self._webhook, self._authority.layout, event, now, self._deadline)
        except LoadlockError as error:
            self.sent.failed += 1
            found = f"[{error.code}] {error.found or error.what}"
            with self._authority.store.claim() as ledger:
                dead = outbox.failed(ledger, self.name, taken, found, self._clock())
            if dead:
                log.error("the webhook %s was not told of event %s, which is given up: %s", self.name, event.id, found)
            else:
                log.warning("the webhook %s did not take event %s and is told again: %s", self.name, event.id, found)
        else:
            self.sent.delivered += 1
            with self._authority.store.claim() as ledger:
                outbox.delivered(ledger, self.name, taken.number)
