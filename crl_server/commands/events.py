"""``audit events``: the audit log as other systems read it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from crl_server.commands.common import opened
from crl_server.commands.revoke import add_server
from verifier.command import Command, Output
from verifier.errors import Refused, UsageError
from verifier.files import write_atomic
from verifier.refreshing.api_client import api_token

PAGE = 1_000
MAX_ANSWER = 32 * 1024 * 1024
"""Size cap of one page of an export in bytes."""
MAX_PAGES = 100_000
FORMS = ("entries", "ocsf", "cloudevents")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", dest="form", choices=FORMS, default="ocsf", help="entries can be verified later")
    parser.add_argument("--after", metavar="N", type=int, default=-1, help="begin after the entry with this index")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="one event a line")
    add_server(parser)


def _events(args: argparse.Namespace, output: Output) -> None:
    if args.after < -1:
        raise UsageError("usage.arguments", "not the index of an entry", found=str(args.after))
    lines = list(_asked(args) if args.server else _read(args))
    write_atomic(args.output, b"".join(line + b"\n" for line in lines))
    last = args.after + len(lines)
    output.say(f"{len(lines)} entries in {args.output}; go on with --after {last}")
    output.result({"ok": True, "entries": len(lines), "format": args.form, "last": last})


def _read(args: argparse.Namespace) -> Iterator[bytes]:
    """Out of the deployment's own database."""
    with opened(args) as authority:
        from crl_server.records.siem import WRITERS

        write, source = WRITERS[args.form], str(authority.record.server)
        with authority.store.read() as ledger:
            yield from (write(line, source) for line in ledger.audit_lines(args.after))


def _asked(args: argparse.Namespace) -> Iterator[bytes]:
    """From a server, page by page."""
    from verifier.refreshing.api_client import fetch

    token, after = api_token(args.token_file), args.after
    for _ in range(MAX_PAGES):
        path = f"/v1/audit/export?format={args.form}&after={after}&limit={PAGE}"
        page = fetch(args.server, path, token, limit=MAX_ANSWER).splitlines()
        yield from page
        after += len(page)
        if len(page) < PAGE:
            return
    raise Refused("server.refused", "the server's log does not end", found=f"{MAX_PAGES} pages")


COMMANDS = (Command("audit events", "write the audit log for other systems", _configure, _events),)
