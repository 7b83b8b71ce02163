"""The gate before signing: a statement that would give something away is never signed.

What goes into a statement is public for good. Looked for, in every string of it (keys too, and what percent-encoding
hides): credentials in addresses, options, queries and settings, private keys, token shapes, values that this
environment calls secret, ``file:`` addresses, paths of the machine, the names of user and machine, and addresses to
download from where an identity is expected. It is made against accidents: nobody is kept from encoding a secret so that
a machine does not find it.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from attestor.checking.leak_patterns import PATH, PATTERNS, USERINFO
from verifier.errors import Refused

#: Names shorter than this, or these, say nothing about anybody and would match by chance.
MIN_NAME_LENGTH = 4
_COMMON_NAMES = frozenset(
    {"root", "user", "build", "builder", "runner", "admin", "python", "debian", "ubuntu", "localhost", "jenkins",
     "gitlab", "github", "docker", "nobody", "worker", "main", "test", "demo", "linux", "alpine", "apache", "arch",
     "azure", "centos", "codespace", "daemon", "fedora", "node", "rocky", "service", "vscode", "www-data"}
)  # fmt: skip
#: A secret of the environment that is shorter would match by chance.
MIN_SECRET_LENGTH = 8
_SECRET_VARIABLE = re.compile(
    r"(?:(?:\A|_)(?:TOKEN|SECRET|PASSWD|PASSPHRASE|PASS|PAT|(?:API|ACCESS|SECRET|PRIVATE|SIGNING)_?KEY|CREDENTIALS?"
    r"|CONNECTION_?STRING)|PASSWORD|SSHPASS|_PWD)\Z",
    re.I,
)
_SECRET_FIELD = re.compile(
    r"(?:\A|[_.-])(?:token|secret|password|passwd|passphrase|api_?key|access_?key|secret_?key|private_?key)\Z", re.I
)
# Long enough, letters and digits, one word: what a person would not call the name of a secret.
_SECRET_VALUE = re.compile(r"(?=.*[a-z])(?=.*[0-9])[\w+/=.~!@#%^&*-]{8,}", re.IGNORECASE)
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
#: How often a string is decoded: addresses stand inside addresses.
MAX_DECODED = 3


def redact(text: str) -> str:
    """The text without user names and passwords in its addresses, fit to be shown to a person."""
    return USERINFO.sub("***@", text)


class LeakGate:
    """Knows what must not be told about this machine.

    Args:
        public: what the owner publishes on purpose (the manifest, the repository's address): a name of this user or
            machine that also stands there gives nothing away.
        names: names that must not appear; by default those of this user and this machine.
        paths: directories that must not appear; by default the home, temporary and working directories.
        secrets: values that must not appear; by default those that the environment calls secret.
    """

    def __init__(
        self,
        public: str = "",
        names: tuple[str, ...] | None = None,
        paths: tuple[str, ...] | None = None,
        secrets: tuple[str, ...] | None = None,
    ) -> None:
        told = own_names() if names is None else names
        telling = sorted(name for name in set(told) if _tells(name) and not _word(name).search(public))
        self._names = [_word(name) for name in telling]
        own = _own_paths() if paths is None else paths
        self._paths = [re.compile(rf"(?<![\w.-]){re.escape(path)}(?![\w.-])") for path in own if len(path) > 1]
        kept = own_secrets() if secrets is None else secrets
        self._secrets = [secret for secret in kept if len(secret) >= MIN_SECRET_LENGTH and secret not in public]

    def check(self, document: Any, *, what: str, declared: Collection[str] = ()) -> None:
        """Refuse a document (plain JSON values) that gives something away.

        Args:
            document: the values.
            what: what they are, for the error's reader.
            declared: paths that the owner declares; they give nothing away, nor does what lies below them.

        Raises:
            Refused: ``leak.found``, naming the place and the kind of find, never the find itself.
        """
        allowed = _below(declared)
        for place, name, text in _strings(document, "$", ""):
            kind = next(self._finds(text, allowed), None)
            if kind is None and _SECRET_FIELD.search(name) and _SECRET_VALUE.fullmatch(text):
                kind = "a credential by its name"
            if kind is not None:
                raise Refused("leak.found", f"{what} would give something away at {place}", found=kind)

    def _finds(self, text: str, allowed: re.Pattern[str] | None) -> Iterator[str]:
        for form in _forms(text):
            undeclared = allowed.sub(" ", form) if allowed else form
            for pattern in PATTERNS:
                if pattern.expression.search(undeclared if pattern.what == PATH else form):
                    yield pattern.what
            if any(path.search(undeclared) for path in self._paths):
                yield PATH
            if any(secret in form for secret in self._secrets):
                yield "a value that the environment calls secret"
            if any(name.search(form) for name in self._names):
                yield "the name of the user or of the machine"


def own_names() -> tuple[str, ...]:
    """The names of this user and this machine, as far as the system tells them."""
    names = {os.environ.get(variable, "") for variable in ("USER", "LOGNAME", "USERNAME", "HOSTNAME")}
    try:
        names.add(getpass.getuser())
    except (KeyError, OSError, ImportError):
        names.discard("")  # a user without a name: there is nothing to give away
    host = socket.gethostname()
    return tuple(names | {host, host.partition(".")[0]})


def own_secrets() -> tuple[str, ...]:
    """The values of this environment's variables whose names say that they are secret."""
    return tuple({value.strip() for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)})


def _tells(name: str) -> bool:
    """Whether a name tells anything about anybody."""
    return len(name) >= MIN_NAME_LENGTH and name.lower() not in _COMMON_NAMES


def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", re.IGNORECASE)


def _own_paths() -> tuple[str, ...]:
    """Directories of this machine; a working directory right below the root is called what anything may be called."""
    here = os.getcwd()
    working = (here,) if here.count("/") > 1 else ()
    return tuple({os.path.expanduser("~"), tempfile.gettempdir(), os.path.realpath(tempfile.gettempdir()), *working})


def _below(declared: Collection[str]) -> re.Pattern[str] | None:
    """Finds the declared paths and what lies below them; none that would allow every path."""
    stems = sorted({path.rstrip("*").rstrip("/") for path in declared} - {""}, key=len, reverse=True)
    return re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, stems))})(?![\w.-])[^\s\"':;,]*") if stems else None


def _forms(text: str) -> Iterator[str]:
    """The text, and what percent-encoding hides in it."""
    yield text
    for _ in range(MAX_DECODED):
        if not _ENCODED.search(text):
            return
        text = unquote(text)
        yield text


def _strings(value: Any, place: str, name: str) -> Iterator[tuple[str, str, str]]:
    """Every string in a document, keys included, with the place where it stands and the key it stands under."""
    if isinstance(value, str):
        yield place, name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{place} (a key)", "", str(key)
            yield from _strings(item, f"{place}.{key}"[:200], str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _strings(item, f"{place}[{index}]", name)
