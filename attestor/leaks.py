"""The gate before signing: a statement that would give something away is never signed.

What goes into a statement is public for good. Looked for, in every string of it (keys too): credentials in addresses,
private keys, well-known token shapes, ``file:`` addresses, paths below a home or temporary directory, the name of the
user and of the machine that attest, and addresses to download from where an identity is expected.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from verifier.errors import Refused

#: Names shorter than this, or these, say nothing about anybody and would match by chance.
MIN_NAME_LENGTH = 4
_COMMON_NAMES = frozenset(
    {"root", "user", "build", "builder", "runner", "admin", "python", "debian", "ubuntu", "localhost", "jenkins",
     "gitlab", "github", "docker", "nobody", "worker", "main", "test", "demo", "linux"}
)  # fmt: skip

_PATH = "a path of the machine that built"
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/@\"'<>]+)@")


class _Pattern(NamedTuple):
    what: str
    expression: re.Pattern[str]


_PATTERNS = (
    _Pattern("credentials in an address", _USERINFO),
    _Pattern("a private key", re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")),
    _Pattern(
        "an access token",
        re.compile(
            r"\b(?:gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|pypi-[\w-]{40,}|AKIA[0-9A-Z]{16}|"
            r"xox[abpr]-[\w-]{10,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+|loadlock_[A-Za-z0-9]{20,})"
        ),
    ),
    _Pattern("a credential in a query", re.compile(r"[?&](?:token|access_token|sig|signature|password|key)=", re.I)),
    _Pattern("a file address", re.compile(r"\bfile:/", re.I)),
    _Pattern(
        _PATH,
        re.compile(r"(?<![\w./-])/(?:home|root|Users|tmp|var/tmp|var/folders|private/var|run/user)/"),
    ),
    _Pattern(_PATH, re.compile(r"\b[A-Za-z]:\\\\?(?:Users|Temp|Windows)\b")),
    _Pattern(
        "an address to download from",
        re.compile(r"\bhttps?://[^\s\"']+\.(?:whl|tar\.gz|zip)\b|\bhttps?://[^\s\"']+/simple/|[?&]download_url=", re.I),
    ),
)


def redact(text: str) -> str:
    """The text without user names and passwords in its addresses, fit to be shown to a person."""
    return _USERINFO.sub(r"\g<scheme>***@", text)


class LeakGate:
    """Knows what must not be told about this machine.

    Args:
        public: what the owner publishes on purpose (the manifest, the repository's address): a name of this user or
            machine that also stands there gives nothing away.
        names: names that must not appear; by default those of this user and this machine.
        paths: directories that must not appear; by default the home and temporary directories.
    """

    def __init__(
        self, public: str = "", names: tuple[str, ...] | None = None, paths: tuple[str, ...] | None = None
    ) -> None:
        told = own_names() if names is None else names
        telling = sorted(name for name in set(told) if _tells(name) and not _word(name).search(public))
        self._names = [_word(name) for name in telling]
        own = _own_paths() if paths is None else paths
        self._paths = [re.compile(rf"(?<![\w.-]){re.escape(path)}(?![\w.-])") for path in own if len(path) > 1]

    def check(self, document: Any, *, what: str, declared: Collection[str] = ()) -> None:
        """Refuse a document (plain JSON values) that gives something away.

        Args:
            document: the values.
            what: what they are, for the error's reader.
            declared: places (such as ``$.predicate.allowed_paths``) below which paths are the owner's declaration.

        Raises:
            Refused: ``leak.found``, naming the place and the kind of find, never the find itself.
        """
        for place, text in _strings(document, "$"):
            kind = self._find(text)
            if kind == _PATH and place.startswith(tuple(declared)):
                continue
            if kind is not None:
                raise Refused("leak.found", f"{what} would give something away at {place}", found=kind)

    def _find(self, text: str) -> str | None:
        for pattern in _PATTERNS:
            if pattern.expression.search(text):
                return pattern.what
        if any(path.search(text) for path in self._paths):
            return _PATH
        if any(name.search(text) for name in self._names):
            return "the name of the user or of the machine"
        return None


def own_names() -> tuple[str, ...]:
    """The names of this user and this machine, as far as the system tells them."""
    names = {os.environ.get(variable, "") for variable in ("USER", "LOGNAME", "USERNAME", "HOSTNAME")}
    try:
        names.add(getpass.getuser())
    except (KeyError, OSError, ImportError):
        names.discard("")  # a user without a name: there is nothing to give away
    host = socket.gethostname()
    return tuple(names | {host, host.partition(".")[0]})


def _tells(name: str) -> bool:
    """Whether a name tells anything about anybody."""
    return len(name) >= MIN_NAME_LENGTH and name.lower() not in _COMMON_NAMES


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE)


def _own_paths() -> tuple[str, ...]:
    return tuple({os.path.expanduser("~"), tempfile.gettempdir(), os.path.realpath(tempfile.gettempdir())})


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every string in a document, keys included, with the place where it stands."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{place} (a key)", str(key)
            yield from _strings(item, f"{place}.{key}"[:200])
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _strings(item, f"{place}[{index}]")
