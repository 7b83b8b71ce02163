"""``backup`` and ``restore``."""

from __future__ import annotations

import argparse
from pathlib import Path

from crl_server.commands.common import local_actor, needing_the_extra, now
from verifier.command import Command, Output
from verifier.deployment.place import DIRECTORY_NAME, find_deployment


def _configure_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the new file; with --check, one that is there")
    parser.add_argument("--check", action="store_true", help="verify a backup, and write nothing")


def _backup(args: argparse.Namespace, output: Output) -> None:
    with needing_the_extra():
        from crl_server.layout import Layout
        from crl_server.storage.backup import back_up, check
    done = (
        check(args.file, now()) if args.check else back_up(Layout(find_deployment(args.deployment)), args.file, now())
    )
    what = "" if done.database else "; the database is another one, and is backed up by its own means"
    output.say(f"{done.files} files, {done.size} bytes, seq {done.seq} of epoch {done.epoch}{what}")
    output.say("It verifies. It holds the online keys, and no offline one: keep it as you keep a key.")
    output.result({"ok": True, "file": str(args.file), **done._asdict()})


def _configure_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the backup")
    parser.add_argument("directory", nargs="?", metavar="DIR", type=Path, help=f"where to (default: {DIRECTORY_NAME})")


def _restore(args: argparse.Namespace, output: Output) -> None:
    with needing_the_extra():
        from crl_server.storage.backup import restore
    directory = Path(args.directory or args.deployment or DIRECTORY_NAME)
    done = restore(args.file, directory, local_actor(), now())
    output.say(f"{directory}: {done.files} files, seq {done.seq} of epoch {done.epoch}")
    if not done.database:
        output.say("The database is another one: its own dump has to be back in its place before this is opened.")
    output.say("Tokens that were taken back since the backup are in force again: take them back once more.")
    output.say("Hosts may have seen more. Nothing is published before it was raised above that:")
    output.say("  loadlock recover --from EXPORT, the newest copy of the public tree there is (or public/ itself)")
    output.result({"ok": True, "directory": str(directory), **done._asdict()})


COMMANDS = (
    Command("backup", "back a deployment up while it runs", _configure_backup, _backup),
    Command("restore", "restore a deployment from a backup", _configure_restore, _restore),
)
