"""What a host has loaded although nobody attested it, read from its report: the list of what remains to be done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from verifier.deployment.home import Home
from verifier.files import read_capped
from verifier.formats.policy import Policy
from verifier.formats.text import Time
from verifier.formats.unattested import FILE_NAME, MAX_LINE, MAX_REPORT, LoadedUnattested, parse_report
from verifier.value import Value


class Excepted(Value, frozen=True):
    """One distribution that was loaded so.

    Attributes:
        last: its last line of the report.
        times: how many lines there are of it.
        until: until when the policy in force would load it so again; None where it has no such exception any more.
    """

    last: LoadedUnattested
    times: int
    until: Time | None

    @property
    def document(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        last = self.last
        return {
            "name": last.name, "version": last.version, "times": self.times, "last": last.at, "code": last.code,
            "profile": last.profile, "place": last.place, "exception_until": self.until,
        }  # fmt: skip

    def __str__(self) -> str:
        last = self.last
        ends = "that exception is over" if self.until is None else f"the exception lasts until {self.until}"
        times = "once" if self.times == 1 else f"{self.times} times, last"
        return f"{last.version} was loaded unattested {times} at {last.at} ([{last.code}], {last.profile}); {ends}"


def read_excepted(home: Home, policy: Policy, now: datetime) -> list[Excepted]:
    """What the report tells, by name.

    Args:
        home: the host's directory, in which the report lies, if there is one.
        policy: the one in force.
        now: the moment (aware, UTC).

    Raises:
        FormatError: any ``format.*`` code: the report is read whole or not at all.
        UsageError: ``io.failed``; ``format.too-large``.
    """
    path = home.directory / FILE_NAME
    if not path.exists() and not path.is_symlink():
        return []
    lines: dict[str, list[LoadedUnattested]] = {}
    for line in parse_report(read_capped(path, MAX_REPORT + MAX_LINE, FILE_NAME)):
        lines.setdefault(line.name, []).append(line)
    return [_summed(lines[name], policy, now) for name in sorted(lines)]


def _summed(lines: Sequence[LoadedUnattested], policy: Policy, now: datetime) -> Excepted:
    last, until = max(lines, key=lambda line: line.at), policy.exception_until
    holds = until is not None and policy.profile == last.profile and now < until.instant
    return Excepted(last, len(lines), until if holds else None)
