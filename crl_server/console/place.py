"""Where the console stands: its address, and what follows from it for cookies and for who may send a form.

The address is the deployment's own (``deployment.json``), never what a request says of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from crl_server.access.issuers import LOOPBACK
from verifier.addresses import split
from verifier.errors import Refused, UsageError
from verifier.formats.enrolment import ServerUrl

ROOM = "/console"
"""Below what the console is served."""


@dataclass(frozen=True)
class Place:
    """The console's address.

    Attributes:
        origin: scheme, host and port, as a browser states them (RFC 6454).
        prefix: the path below which a proxy serves the whole deployment; empty for none.
        secure: whether it is https. Plain http is for loopback alone.
    """

    origin: str
    prefix: str
    secure: bool

    @classmethod
    def of(cls, server: ServerUrl) -> Place:
        """The place of a deployment's console."""
        parts = urlsplit(server)
        return cls(f"{parts.scheme}://{parts.netloc}".lower(), parts.path.rstrip("/"), parts.scheme == "https")

    @property
    def base(self) -> str:
        """The path that every link begins with."""
        return self.prefix + ROOM

    @property
    def url(self) -> str:
        """The console's whole address."""
        return self.origin + self.base

    def cookie(self, name: str) -> str:
        """A cookie's name: with the prefix that ties it to this host and to TLS (RFC 6265bis section 4.1.3.2)."""
        return f"__Host-{name}" if self.secure else name

    @property
    def path(self) -> str:
        """The path that cookies are for; the prefix ``__Host-`` demands the root."""
        return "/" if self.secure else self.base

    def check(self) -> None:
        """Demand that people can sign in here without anybody reading along.

        Raises:
            UsageError: ``usage.configuration``.
        """
        if not self.secure and urlsplit(self.origin).hostname not in LOOPBACK:
            raise UsageError(
                "usage.configuration", "the console is not behind TLS", found=self.origin,
                expected="https://…; plain http on loopback alone",
                todo="Give the deployment its https address in deployment.json and restart the server.",
            )  # fmt: skip

    def check_origin(self, origin: str, host: str) -> None:
        """Demand that a form was sent by a page of this console.

        Args:
            origin: the request's ``Origin``; browsers state it with every form they send.
            host: its ``Host``. It counts on loopback alone, where one server has several names and may take any port.

        Raises:
            Refused: ``auth.form``.
        """
        own = {self.origin}
        if not self.secure and split(f"http://{host}").hostname in LOOPBACK:
            own.add(f"http://{host}")
        if origin not in own:
            raise Refused("auth.form", "the form comes from another site", found=f"{origin!a:.200}",
                          expected=self.origin)  # fmt: skip
