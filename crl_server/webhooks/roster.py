"""Who is told, taken from the settings while the server runs: a worker for each webhook that stands there.

People change the settings, and commands do; it is looked for a change every second. What cannot be read changes
nothing: whoever was told before goes on being told, and the log says what is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from crl_server.background import Background
from crl_server.lists.stamps import Stamp, stamp
from crl_server.service import Authority
from crl_server.settings import Webhook, read_settings
from crl_server.webhooks.worker import Sent, WebhookWorker
from verifier.errors import LoadlockError

LOOK = 1.0
"""How often, in seconds, it is looked for other webhooks in the settings."""

log = logging.getLogger("crl_server.webhook")


class Roster(Background):
    """Tells every webhook of the settings while inside its block.

    Args:
        authority: whose events they are, and whose settings; it has read them once already.
        clock: tells the time, aware and in UTC.
        look: seconds between two looks at the settings.
    """

    def __init__(self, authority: Authority, clock: Callable[[], datetime], look: float = LOOK) -> None:
        super().__init__("webhooks")
        self._authority, self._clock, self._look = authority, clock, look
        self._sent: dict[str, Sent] = {}
        self._workers: dict[Webhook, WebhookWorker] = {}
        self._read: Stamp | None = None
        self._wanted: Sequence[Webhook] = authority.settings.webhook

    def __iter__(self) -> Iterator[WebhookWorker]:
        """The workers of now; another thread may ask at any time."""
        return iter(tuple(self._workers.values()))

    def _run(self) -> None:
        self._change()
        try:
            while not self._end.wait(self._look):
                if (found := stamp(self._authority.layout.settings)) != self._read:
                    self._read = found
                    self._take_up()
        finally:
            self._wanted = ()
            self._change()

    def _take_up(self) -> None:
        try:
            self._wanted = read_settings(self._authority.layout.settings).webhook
            self._change()
        except LoadlockError as error:
            log.error("the settings are not taken up, webhooks stay as they were: %s", error)
        except Exception:
            # Whatever it was, the next change of the settings may go well; those who are told are told meanwhile.
            log.exception("the settings are not taken up, webhooks stay as they were")

    def _change(self) -> None:
        """End the workers of what is wanted no more, all at once, and begin those of what is new."""
        over = [webhook for webhook in self._workers if webhook not in self._wanted]
        for webhook in over:
            self._workers[webhook].end()
        for webhook in over:
            self._workers[webhook].__exit__()
            log.info("the webhook %s is told of nothing here any more", webhook.name)
        kept = {webhook: worker for webhook, worker in self._workers.items() if webhook not in over}
        for webhook in self._wanted:
            if webhook not in kept:
                sent = self._sent.setdefault(webhook.name, Sent())
                kept[webhook] = WebhookWorker(self._authority, webhook, self._clock, sent=sent)
                kept[webhook].__enter__()
        self._workers = kept
