"""Why a server did not answer, in words, and what whoever asked can do about it.

The client's own errors are shells around the one that happened ("MaxRetryError"). What a server sent is not repeated.
"""

from __future__ import annotations

import ssl

from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError, ProxyError, ReadTimeoutError

DEEPEST = 10
"""How many shells are looked into."""
UNTRUSTED = (
    "Check the address. Where its certificate is of an authority of your own, name a file with that authority's "
    "certificate in SSL_CERT_FILE."
)


def why(error: BaseException) -> tuple[str, str]:
    """What happened, and advice that fits it better than the code's own; empty where there is none.

    Args:
        error: what the client raised.
    """
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {one.verify_message}", UNTRUSTED
    words = next((said for one in reversed(chain) if (said := _words(one))), "")
    return words or type(chain[-1]).__name__, ""


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what is inside it, the outermost first."""
    found: list[BaseException] = []
    current: object = error
    while isinstance(current, BaseException) and len(found) < DEEPEST:
        found.append(current)
        inside = getattr(current, "reason", None)
        if not isinstance(inside, BaseException):
            inside = next((part for part in current.args if isinstance(part, BaseException)), current.__cause__)
        current = inside
    return found


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS as it should"
    if isinstance(error, (ReadTimeoutError, TimeoutError)):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or ""
    if isinstance(error, ProxyError):
        return "the proxy does not let it through"
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return "no connection in time"
    return "it hung up" if isinstance(error, ProtocolError) else ""
