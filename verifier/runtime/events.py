"""What an audit event says, of those that mean egress, a new process, or native code that a plugin opens.

The objects that come with an event are the plugin's: nothing of theirs is called as far as that can be avoided, and
only where something is reached for is taken from them, never what is said there. The constants come from ``_socket``,
which costs next to nothing to import.
Source: the audit event table of Python's documentation.
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from verifier.runtime.observed import MAX_TARGET, Event, Kind, Transport

_INTERNET: Final = frozenset({_socket.AF_INET, _socket.AF_INET6})
_TRANSPORTS: Final[Mapping[int, Transport]] = {_socket.SOCK_STREAM: "tcp", _socket.SOCK_DGRAM: "udp"}
_SCHEMES: Final = {80: "http", 443: "https"}
_Arguments = tuple[Any, ...]


def _text(value: object) -> str:
    """A target in words; cut where it is long."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value[:MAX_TARGET]).decode("utf-8", "replace")
    return str.__getitem__(value, slice(MAX_TARGET)) if isinstance(value, str) else ""


def _host(value: object) -> str:
    return _text(value).lower().removesuffix(".")


def _port(value: object) -> int | None:
    if isinstance(value, int):
        return int.__index__(value)
    text = _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None


def _to(kind: Kind, sock: object, address: object) -> Event:
    # By the descriptors of the C type: a subclass of the plugin's may have properties of these names.
    family, kind_of = (getattr(_socket.socket, name).__get__(sock) for name in ("family", "type"))
    if family in _INTERNET and isinstance(address, tuple) and len(address) > 1:
        host, port = tuple.__getitem__(address, 0), tuple.__getitem__(address, 1)
        return Event(kind, _host(host), _port(port), _TRANSPORTS.get(kind_of, "other"))
    if family == _socket.AF_UNIX:
        return Event(kind, _text(address), None, "unix")
    return Event(kind, f"family {int(family)}", None, "other")


def _connect(args: _Arguments) -> Event:
    return _to("connect", args[0], args[1])


def _send(args: _Arguments) -> Event | None:
    # A message without an address goes where the socket is connected to, and that was recorded.
    return None if args[1] is None else _to("send", args[0], args[1])


def _resolve(args: _Arguments) -> Event | None:
    # Without a name, what is looked up is this machine's own address.
    host = _host(args[0])
    return Event("resolve", host, _port(args[1]) if len(args) > 1 else None) if host else None


def _nameinfo(args: _Arguments) -> Event:
    return Event("resolve", _host(tuple.__getitem__(args[0], 0)), _port(tuple.__getitem__(args[0], 1)))


def _request(args: _Arguments) -> Event:
    # The class of the connection tells http from https, also for the libraries that derive from the standard one.
    ports = (vars(kind)["default_port"] for kind in type(args[0]).__mro__ if "default_port" in vars(kind))
    return Event("request", _host(args[1]), _port(args[2]), "tcp", _SCHEMES.get(next(ports, 0), ""))


def _program(args: _Arguments) -> Event:
    return Event("process", _text(args[0]))


def _spawn(args: _Arguments) -> Event:
    return Event("process", _text(args[1]))


def _shell(args: _Arguments) -> Event:
    return Event("process", "a shell")  # its command line is contents


def _fork(args: _Arguments) -> Event:
    return Event("process", "a fork of this process")


def _library(args: _Arguments) -> Event:
    return Event("library", _text(args[0]))


_READERS: Final[Mapping[str, Callable[[_Arguments], Event | None]]] = {
    "socket.connect": _connect,
    "socket.sendto": _send,
    "socket.sendmsg": _send,
    "socket.getaddrinfo": _resolve,
    "socket.gethostbyname": _resolve,
    "socket.gethostbyaddr": _resolve,
    "socket.getnameinfo": _nameinfo,
    "http.client.connect": _request,
    "subprocess.Popen": _program,
    "os.exec": _program,
    "os.posix_spawn": _program,
    "os.spawn": _spawn,
    "os.system": _shell,
    "os.fork": _fork,
    "os.forkpty": _fork,
    "ctypes.dlopen": _library,
}
READERS: Final = MappingProxyType(_READERS)
"""By the event's name, what makes of its arguments what is recorded; None where there is nothing to record."""
