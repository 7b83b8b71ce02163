"""``audit log``."""

from __future__ import annotations

import argparse

from crl_server.commands.common import now, opened
from verifier.command import Command, Output
from verifier.errors import UsageError
from verifier.formats.strict_json import plain

SHOWN = 50
"""How many entries of the audit log are shown unless asked otherwise."""


def _configure_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", metavar="N", type=int, default=SHOWN, help=f"show the last N entries ({SHOWN})")


def _audit(args: argparse.Namespace, output: Output) -> None:
    if args.last < 0:
        raise UsageError("usage.arguments", "not a number of entries", found=str(args.last))
    with opened(args) as authority:
        from crl_server.audit import parse_entry

        state = authority.verify_audit(now())
        with authority.store.read() as ledger:
            entries = [parse_entry(line) for line in ledger.audit_lines(after=max(state.count - args.last, 0) - 1)]
    for entry in entries:
        output.say(f"{entry.index:>6}  {entry.time}  {entry.actor:<20}  {entry.action:<18}  {entry.subject}")
    output.say(
        f"{state.count} entries in one unbroken chain that ends in {state.sha256}; the signed list vouches for it"
    )
    output.result({"ok": True, "verified": True, "state": plain(state), "entries": [plain(entry) for entry in entries]})


COMMANDS = (Command("audit log", "verify the audit log and show its end", _configure_audit, _audit),)
