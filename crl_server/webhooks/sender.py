"""Sending one event to one receiver: where it may go, how long it may take, how much may come back.

The receiver's name is resolved here and the connection is made to the very address that was judged, so that a name that
changes its mind meanwhile leads nowhere else. No proxy, no redirect, and nothing of the answer but its status is used.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from verifier.errors import Refused, Unreachable

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection."""
DEADLINE = 15.0
"""Seconds after which a delivery is given up, however busily it trickles."""
MAX_ANSWER = 64 * 1024
"""How many bytes of an answer are read, and thrown away, before the connection is cut."""
PORTS = {"http": 80, "https": 443}


def send(url: str, body: bytes, headers: dict[str, str], *, internal: bool, deadline: float = DEADLINE) -> int:
    """POST a body, and demand a status of 200 to 299.

    Args:
        url: where to; https, or http to this machine itself.
        body: what.
        headers: of the request, beside those of the protocol.
        internal: whether the receiver may have an address that is not public.
        deadline: seconds after which it is given up.

    Returns:
        The status.

    Raises:
        Refused: ``webhook.address`` when it may not go there.
        Unreachable: ``unreachable.webhook``. No error repeats the address but for its host: it may hold a secret.
    """
    parts = urlsplit(url)
    host, cut = parts.hostname or "", threading.Event()
    try:
        made = _connected(parts, host, internal, deadline)
        timer = threading.Timer(deadline, _cut, [made, cut])
        timer.daemon = True
        timer.start()
        try:
            status = _exchange(made, parts, body, headers)
            if cut.is_set():  # what was cut off looks like an answer that has ended
                raise TimeoutError
        finally:
            timer.cancel()
            made.close()
    except (OSError, http.client.HTTPException) as error:
        found = f"no answer within {deadline:g} s" if cut.is_set() else type(error).__name__
        raise Unreachable("unreachable.webhook", f"{host} did not take the event", found=found) from error
    if not 200 <= status <= 299:
        raise Unreachable("unreachable.webhook", f"{host} did not take the event", found=f"status {status}")
    return status


def _exchange(made: socket.socket, parts: SplitResult, body: bytes, headers: dict[str, str]) -> int:
    """Send the request over the connection that was made, and read what comes back."""
    if isinstance(made, ssl.SSLSocket):
        made.do_handshake()
    connection = http.client.HTTPConnection(parts.netloc)
    connection.sock = made
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("POST", target, body, {"Connection": "close", **headers})
    answer = connection.getresponse()
    answer.read(MAX_ANSWER)
    return answer.status


def _connected(parts: SplitResult, host: str, internal: bool, deadline: float) -> socket.socket:
    """A connection to an address of the host; all that the host has must be allowed. TLS is still to be begun."""
    found = socket.getaddrinfo(host, parts.port or PORTS[parts.scheme], type=socket.SOCK_STREAM)
    for *_, address in found:
        check_address(str(address[0]), parts.scheme, host, internal=internal)
    made = _first(found)
    made.settimeout(deadline)
    if parts.scheme == "http":
        return made
    return ssl.create_default_context().wrap_socket(made, server_hostname=host, do_handshake_on_connect=False)


def _first(found: Sequence[tuple[Any, ...]]) -> socket.socket:
    """A connection to the first address that takes one."""
    for *_, address in found[:-1]:
        with suppress(OSError):
            return socket.create_connection(address[:2], CONNECT_TIMEOUT)
    return socket.create_connection(found[-1][4][:2], CONNECT_TIMEOUT)


def check_address(address: str, scheme: str, host: str, *, internal: bool) -> None:
    """Demand that an event may go to this address.

    Plain HTTP goes to this machine alone. Otherwise an address is public, or the receiver is marked as an internal one;
    and never link-local (where clouds keep their credentials), multicast or unspecified.

    Raises:
        Refused: ``webhook.address``.
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):  # some are another way to write one of the older kind
        found = found.ipv4_mapped or found.sixtofour or found
    if scheme == "http":
        allowed = found.is_loopback
    else:
        never = found.is_link_local or found.is_multicast or found.is_unspecified or found.is_reserved
        allowed = not never and (internal or found.is_global)
    if not allowed:
        raise Refused(
            "webhook.address", f"an event may not go to {host!a}", found=str(found),
            expected="a public address, or 'internal = true' of the webhook",
        )  # fmt: skip


def _cut(made: socket.socket, cut: threading.Event) -> None:
    cut.set()
    with suppress(OSError):
        made.shutdown(socket.SHUT_RDWR)
