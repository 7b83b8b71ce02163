"""The listener: follows the push stream, so that a revocation arrives within a moment (docs/spec/push.md).

It takes nothing on trust: each pushed head is judged as a fetched one. And it is only ever faster than the watcher's
polls, which go on beside it: whoever cuts, fills or withholds the stream gains the time until the next poll.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from verifier.errors import Unreachable
from verifier.formats.push import EVENT, MAX_LINE, Announcement, parse_announcement
from verifier.refreshing.transport import Stream, Transport
from verifier.refreshing.watch import Watcher

STREAM_URL = "/v1/stream"
"""Where a server has the stream, below its address."""
PAUSE = 5.0
"""Seconds, with jitter, before a stream that worked is opened again: hosts must not come back all at one moment."""
LONGEST_PAUSE = 120.0
"""Seconds after which a server that gave no stream is asked again, at the latest."""


class Listener:
    """Follows one server's stream in a thread of its own, also in forked children.

    Args:
        transport: how to reach the server.
        hear: takes an announcement; whatever it raises ends the stream, and a later one is tried.
    """

    def __init__(self, transport: Transport, hear: Callable[[Announcement], object]) -> None:
        self._transport = transport
        self._hear = hear
        self._stream: Stream | None = None
        self._stopped = False
        # That there is no stream is no failure worth a warning: the poll is the promise, and goes on.
        self._watcher = Watcher(self.follow, interval=LONGEST_PAUSE, rest=PAUSE, what="listening", level=logging.INFO)

    def start(self) -> None:
        """Listen; starting twice changes nothing."""
        self._stopped = False
        self._watcher.start()

    def stop(self) -> None:
        """Listen no more; returns within moments."""
        self._stopped = True
        self._watcher.stop(self._end)

    def follow(self) -> None:
        """Follow one stream until it ends.

        Raises:
            Unreachable: ``unreachable.server``: there was none, or it ended before it announced anything.
            FormatError: it is not as the specification says.
            Exception: whatever ``hear`` raised.
        """
        stream = self._stream = self._transport.stream(STREAM_URL)
        heard = 0
        try:
            if self._stopped:  # while the connection was made, when there was no stream yet to end
                stream.end()
            for announcement in announcements(stream):
                self._hear(announcement)
                heard += 1
        finally:
            self._stream = None
            stream.close()
        if not heard and not self._stopped:
            raise Unreachable("unreachable.server", "the stream ended before it announced anything")

    def _end(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.end()


def announcements(stream: Stream) -> Iterator[Announcement]:
    """The announcements of a stream of server-sent events (WHATWG HTML, section 9.2.6); other events mean nothing.

    Raises:
        FormatError: an announcement is malformed, or a line exceeds its cap.
        Unreachable: ``unreachable.server``.
    """
    kind, data = b"", b""
    for line in stream.lines(MAX_LINE):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if kind == EVENT.encode() and data:
                yield parse_announcement(data)
            kind, data = b"", b""
        elif field == b"event":
            kind = value
        elif field == b"data":
            # An announcement is one line; where there are more, the last is as good as any: it is judged.
            data = value
