"""Where a host takes public files from: a server, or a copy that somebody carries. Neither is believed."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Response(NamedTuple):
    """An answer: HTTP status, body (empty unless the status is 200), and entity tag if there was one."""

    status: int
    body: bytes
    etag: str | None


class Source(Protocol):
    """Hands out files of a public tree.

    Attributes:
        server: its address, without a trailing slash.
    """

    server: str

    def request(self, path: str, limit: int, etag: str | None = None) -> Response:
        """The file at ``path`` (with its leading slash), of at most ``limit`` bytes; 404 where there is none.

        Raises:
            Unreachable: ``unreachable.server``, ``io.failed``.
            Refused: ``copy.damaged``; FormatError: ``format.too-large``.
        """

    def get(self, path: str, limit: int, etag: str | None = None) -> Response:
        """As :meth:`request`, but what is not there is unreachable."""
