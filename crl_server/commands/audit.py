"""``audit log``, ``audit export`` and ``audit verify``."""

from __future__ import annotations

import argparse
from pathlib import Path

from crl_server.commands.common import needing_the_extra, now, opened
from verifier.command import Command, Output, given
from verifier.errors import UsageError
from verifier.files import read_capped
from verifier.formats.strict_json import plain
from verifier.formats.text import Digest

SHOWN = 50
"""How many entries of the audit log are shown unless asked otherwise."""


def _configure_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", metavar="N", type=int, default=SHOWN, help=f"show the last N entries ({SHOWN})")


def _audit(args: argparse.Namespace, output: Output) -> None:
    if args.last < 0:
        raise UsageError("usage.arguments", "not a number of entries", found=str(args.last))
    with opened(args) as authority:
        from crl_server.records.audit import parse_entry

        state = authority.verify_audit(now())
        with authority.store.read() as ledger:
            entries = [parse_entry(line) for line in ledger.audit_lines(after=max(state.count - args.last, 0) - 1)]
    for entry in entries:
        output.say(f"{entry.index:>6}  {entry.time}  {entry.actor:<20}  {entry.action:<18}  {entry.subject}")
    output.say(
        f"{state.count} entries in one unbroken chain that ends in {state.sha256}; the signed list vouches for it"
    )
    output.result({"ok": True, "verified": True, "state": plain(state), "entries": [plain(entry) for entry in entries]})


def _configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="where to; it must not exist")


def _export(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        from crl_server.records.audit_export import AuditExport

        state = authority.verify_audit(now())
        with authority.store.read() as ledger:
            AuditExport(args.directory).create(authority.layout, ledger)
        root = authority.first_root()
    output.say(f"{args.directory}: {state.count} entries, which verify")
    output.say(f"Elsewhere, with the root's fingerprint from your own notes: loadlock audit verify {args.directory}")
    output.result({"ok": True, "directory": str(args.directory), "entries": state.count, "first_root": root})


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="an exported log")
    parser.add_argument("--root", metavar="FINGERPRINT", required=True, help="of the deployment's first root")
    parser.add_argument("--since", metavar="DIR", type=Path, help="an earlier export, which it has to continue")
    parser.add_argument("--head", metavar="FILE", type=Path, help="a signed list that was met somewhere: is it there?")


def _verify(args: argparse.Namespace, output: Output) -> None:
    with needing_the_extra():
        from crl_server.lists.public_tree import MAX_ENVELOPE
        from crl_server.records.audit_export import AuditExport
    export, since = AuditExport(args.directory), AuditExport(args.since) if args.since else None
    found = export.verify(given(Digest, args.root, "the root's fingerprint"), now(), since)
    output.say(f"{found.state.count} entries in one unbroken chain that ends in {found.state.sha256}")
    output.say(f"the signed list vouches for the first {found.anchor.count}")
    entry = None
    if args.head:
        entry = export.find_head(read_capped(args.head, MAX_ENVELOPE, "revocation head"))
        output.say(f"the list that was met stands in entry {entry}")
    output.result({"ok": True, "state": plain(found.state), "anchor": plain(found.anchor), "head": entry})


COMMANDS = (
    Command("audit log", "verify the audit log and show its end", _configure_audit, _audit),
    Command("audit export", "copy the audit log, with what vouches for it", _configure_export, _export),
    Command("audit verify", "verify an exported audit log, offline", _configure_verify, _verify),
)
