"""Polls: a file asked for again and again, on the condition that it has changed.

Nearly every poll is answered with "304 Not Modified", and a whole HTTP client takes ten times as long over that as the
network does. Here only the plainest answers are understood (:func:`read_plain`). Of any other nothing is taken: that
connection ends, and the file is asked for in the usual way (decision record 0042).
"""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Final, NamedTuple

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util.url import Url

from verifier.refreshing.source import Response

PIECE: Final = 65_536
"""How much to read at once, in bytes: status and fields have to come in the first piece."""
_QUESTION: Final = "GET {} HTTP/1.1\r\n{}If-None-Match: {}\r\n\r\n"
_ANSWER: Final = re.compile(rb"HTTP/1\.1 (200|304) [ -~]*+\r\n((?:[!#-'*+.0-9A-Z^-z|~-]++:[\t -~]*+\r\n)*+)\r\n")
_TOLD: Final = re.compile(rb"^(content-length|transfer-encoding|etag):[ \t]*+(.*?)[ \t]*+\r$", re.I | re.M)
_LENGTH: Final = re.compile(rb"[0-9]{1,12}")


class Plain(NamedTuple):
    """What a plain answer says: status, entity tag, how long its body is, and where in the first piece it begins."""

    status: int
    etag: str | None
    length: int
    start: int


def read_plain(first: bytes) -> Plain | None:
    """Read status and fields of an answer out of its first piece; None for an answer that is not plain.

    Plain is HTTP/1.1 in ASCII with the status 304, or with 200 and one length, without a transfer encoding and without
    folded lines (RFC 9112, sections 4 to 6): where a body begins and ends is then beyond doubt.
    """
    found = _ANSWER.match(first)
    if found is None:
        return None
    told = _TOLD.findall(found[2])
    fields = {name.lower(): value for name, value in told}
    status, length = int(found[1]), fields.get(b"content-length", b"")
    if status == 304:  # it may name the length that 200 would have; a body it never has
        length = b"0"
    if len(fields) != len(told) or b"transfer-encoding" in fields or not _LENGTH.fullmatch(length):
        return None
    return Plain(status, fields.get(b"etag", b"").decode("ascii") or None, int(length), found.end())


class Poll:
    """Polls one server, over a connection of its own that is kept. Names, certificates and TLS are urllib3's work.

    Args:
        server: the server's address, which names a host.
        headers: what is sent with every question.
        connect: seconds to wait for a connection.
        read: seconds to wait for the next bytes.
    """

    def __init__(self, server: Url, headers: Mapping[str, str], *, connect: float, read: float) -> None:
        kind = HTTPSConnection if server.scheme == "https" else HTTPConnection
        self._connection = kind((server.host or "").strip("[]"), server.port or kind.default_port, timeout=connect)
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in {"Host": server.netloc, **headers}.items())
        self._read = read
        self._asking = threading.Lock()
        weakref.finalize(self, self._connection.close)

    def ask(self, target: str, etag: str, limit: int, end: float) -> Response | None:
        """The file at ``target``, or that its tag is still ``etag``; None where only the usual way can tell.

        Args:
            target: path and query.
            etag: the tag of what the caller has.
            limit: size cap of the body in bytes.
            end: when to give up, by the monotonic clock.
        """
        said = f"{target}{etag}"
        if " " in target or not said.isascii() or not said.isprintable() or not self._asking.acquire(blocking=False):
            return None
        answer = None
        try:
            answer = self._ask(_QUESTION.format(target, self._headers, etag).encode("ascii"), limit, end)
        except (HTTPError, OSError):
            return None  # the usual way finds out what is wrong
        finally:
            if answer is None:
                self._connection.close()  # what is left of an answer must not be taken for the next one
            self._asking.release()
        return answer

    def _ask(self, question: bytes, limit: int, end: float) -> Response | None:
        connection = self._connection
        if not connection.is_connected:  # nor is one over which the server said something unasked
            connection.close()
            connection.connect()
            connection.sock.settimeout(self._read)
        connection.sock.sendall(question)
        first = connection.sock.recv(PIECE)
        plain = read_plain(first)
        if plain is None or plain.length > limit:
            return None
        body = bytearray(first[plain.start :])
        while len(body) < plain.length:
            piece = connection.sock.recv(PIECE) if time.monotonic() < end else b""
            if not piece:
                return None
            body += piece
        return Response(plain.status, bytes(body), plain.etag) if len(body) == plain.length else None
