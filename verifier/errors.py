"""Every error a person or a program can meet, as one tree.

    LoadlockError
    ├── UsageError       wrong usage or configuration                      exit status 2
    ├── Unreachable      something needed could not be reached             exit status 3
    ├── PluginFailed     the plugin itself failed                          exit status 4
    └── Refused          a check said no                                   exit status 1
        ├── FormatError    a document is not well-formed
        └── PluginRevoked  a plugin that was already loaded has been revoked

Each error carries a stable ``code`` (listed in :mod:`verifier.codes`) and four sentences for a person: what failed,
what was found, what was expected, and what to do next.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict

from verifier.codes import CODES


class ErrorDocument(TypedDict):
    """The JSON form of an error, as every command prints it with ``--json``."""

    code: str
    step: int | None
    what: str
    found: str
    expected: str
    todo: str


class LoadlockError(Exception):
    """Base of all errors raised on purpose.

    Args:
        code: a key of :data:`verifier.codes.CODES`.
        what: what failed, one sentence without a full stop.
        found: what was there instead; may be empty.
        expected: what would have been right; may be empty.
        todo: what the reader does next; the code's own advice when empty.

    Raises:
        KeyError: ``code`` is not registered (a mistake in Loadlock itself).
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, code: str, what: str, *, found: str = "", expected: str = "", todo: str = "") -> None:
        info = CODES[code]
        super().__init__(what)
        self.code = code
        self.what = what
        self.found = found
        self.expected = expected
        self.todo = todo or info.todo
        self.step: int | None = info.step

    def __str__(self) -> str:
        lines = [f"[{self.code}] {self.what}"]
        for label, text in (("found", self.found), ("expected", self.expected), ("next", self.todo)):
            if text:
                lines.append(f"  {label + ':':<10}{text}")
        return "\n".join(lines)

    def document(self) -> ErrorDocument:
        """The error as plain values, for JSON."""
        return {
            "code": self.code,
            "step": self.step,
            "what": self.what,
            "found": self.found,
            "expected": self.expected,
            "todo": self.todo,
        }


class UsageError(LoadlockError):
    """Wrong usage or configuration: nothing was checked."""

    exit_status = 2


class Unreachable(LoadlockError):
    """Something needed could not be reached: a server, a file system, an index."""

    exit_status = 3


class PluginFailed(LoadlockError):
    """The plugin was allowed and then failed by itself; the cause is chained."""

    exit_status = 4


class Refused(LoadlockError):
    """A check said no. There is no boolean to forget: a refusal is always raised."""


class FormatError(Refused):
    """A document is malformed, oversized, ambiguous or of the wrong type."""


class PluginRevoked(Refused):
    """A plugin that was already loaded has been revoked; its handle no longer calls into it."""
