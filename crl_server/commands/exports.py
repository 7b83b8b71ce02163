"""``export`` and ``trust export``: copy the public tree once, into a directory or into one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from crl_server.commands.common import needing_the_extra, now, opened
from verifier.command import Command, Output, given
from verifier.errors import UsageError
from verifier.formats.text import Duration, Name

KEEP = "P1D"
"""For how long what nothing refers to stays, unless asked otherwise."""


def _configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these exports of server/settings.toml")
    parser.add_argument("--to", metavar="DIR", type=Path, help="into this directory instead")
    parser.add_argument("--keep", metavar="TIME", default=KEEP, help=f"with --to: for how long old files stay ({KEEP})")


def _export(args: argparse.Namespace, output: Output) -> None:
    if args.to and args.names:
        raise UsageError("usage.arguments", "where to export to", expected="names of exports, or --to DIR")
    keep = given(Duration, args.keep, "the time to keep old files").span
    with opened(args) as authority, needing_the_extra():
        from crl_server.export.exporter import Exporter
        from crl_server.export.places import Directory
        from crl_server.export.worker import exporters

        known = {found.name: found for found in authority.settings.export}
        unknown = [name for name in args.names if name not in known]
        if unknown or not (args.to or known):
            raise UsageError(
                "usage.arguments", "no such export", found=", ".join(map(ascii, unknown)) or "none in settings.toml",
                expected=", ".join(known) or "--to DIR",
            )  # fmt: skip
        if args.to:
            chosen = [Exporter(authority, Name("to"), Directory(args.to.absolute()), keep)]
        else:
            chosen = exporters(authority, [known[name] for name in dict.fromkeys(args.names or known)])
        done = []
        for exporter in chosen:
            outcome = exporter.run(now())
            what = "" if args.to else f"{exporter.name}: "
            output.say(
                f"{what}seq {outcome.seq} of the list; {outcome.written} files written, {outcome.removed} removed"
            )
            done.append({"name": exporter.name, **vars(outcome)})
    output.result({"ok": True, "exports": done})


def _configure_carried(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the copy; what is there is replaced")


def _carried(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority, needing_the_extra():
        from crl_server.export.carried import write_copy

        done = write_copy(authority, args.file, now())
    output.say(f"{args.file}: seq {done.seq} of the list, {done.files} files, {done.size} bytes.")
    output.say(f"Hosts take it until {done.until}: loadlock trust import {args.file.name}")
    output.result({"ok": True, "file": str(args.file), **done._asdict()})


COMMANDS = (
    Command("export", "copy lists and trust for a mirror or a CDN", _configure_export, _export),
    Command("trust export", "write all that hosts need into one file, to be carried", _configure_carried, _carried),
)
