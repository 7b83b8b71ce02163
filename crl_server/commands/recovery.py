"""``recover``: after the theft of the head key, or after the loss of the database."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from crl_server.commands.common import local_actor, needing_the_extra, now, opened
from verifier.command import Command, Output
from verifier.deployment.place import find_deployment
from verifier.errors import UsageError

if TYPE_CHECKING:
    from crl_server.lists.checkpointing import Prepared


def _configure_recover(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", metavar="DIR", type=Path, help="where the checkpoint is laid out")
    parser.add_argument(
        "--from", dest="export", metavar="EXPORT", type=Path,
        help="after the loss of the database: the newest copy of the public tree",
    )  # fmt: skip
    parser.add_argument("--keys", metavar="DIR", type=Path, help="where the policy's key is (default: offline/)")


def _recover(args: argparse.Namespace, output: Output) -> None:
    if args.export is not None:
        _reclaim(args, output)
    elif args.directory is None:
        raise UsageError("usage.arguments", "what to recover from", expected="DIR after a theft, or --from EXPORT")
    else:
        _replace(args, output)


def _reclaim(args: argparse.Namespace, output: Output) -> None:
    if args.keys is not None:
        raise UsageError("usage.arguments", "--keys is for the theft of the head key", found=str(args.keys))
    with needing_the_extra():
        from crl_server.layout import Layout
        from crl_server.trust.reclaiming import new_database, reclaim
    moment = now()
    new_database(Layout(find_deployment(args.deployment)), moment)
    with opened(args, recovering=True) as authority:
        done = reclaim(authority, args.export, local_actor(), moment)
        cut: Prepared | None = None
        if args.directory is not None:
            cut = authority.prepare_checkpoint(args.directory, local_actor(), moment, cut=True)
    output.say(f"epoch {done.epoch}, seq {done.seq} is in force: above whatever hosts may have seen")
    output.say(f"the database had lacked {done.entries} entries and {done.rules} rules that the export shows")
    if cut is None:
        output.say("Hosts that alarm with list.fork saw more than the export: lay out a cut (--from EXPORT DIR).")
    else:
        output.say(f"{cut.directory}: checkpoint of epoch {cut.epoch}, a cut; have it signed and publish it")
    output.result({"ok": True, **done._asdict(), "directory": None if cut is None else str(cut.directory)})


def _replace(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        from crl_server.trust.recovery import replace_stolen_key

        done = replace_stolen_key(authority, args.keys, args.directory, local_actor(), now())
    output.say(f"policy {done.policy} is in force: heads are signed by {done.key}, and no longer by")
    for key in done.stolen:
        output.say(f"  {key}")
    output.say(
        f"{done.checkpoint.directory}: checkpoint of epoch {done.checkpoint.epoch}; have it signed and publish it"
    )
    output.say("Until then, hosts that took something from the thief refuse every list, and alarm.")
    output.result(
        {
            "ok": True,
            "key": done.key,
            "stolen": done.stolen,
            "policy": done.policy,
            "directory": str(done.checkpoint.directory),
            "epoch": done.checkpoint.epoch,
            "through": done.checkpoint.through,
        }
    )


COMMANDS = (Command("recover", "after a stolen head key or a lost database", _configure_recover, _recover),)
