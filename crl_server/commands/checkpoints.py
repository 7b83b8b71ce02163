"""``reinstate``, ``approve`` and ``checkpoint prepare|sign|publish``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from crl_server.commands.common import local_actor, needing_the_extra, now, opened
from crl_server.commands.revoke import add_server, digest_of
from verifier.command import Command, Output, given
from verifier.errors import UsageError
from verifier.formats.strict_json import plain
from verifier.formats.text import Digest
from verifier.refreshing.api_client import api_token

if TYPE_CHECKING:
    from crl_server.lists.countersigning import Summary

_RULE = re.compile(r"R([1-9][0-9]{0,11})")
SHOWN = 50
"""How many things that are taken back are shown, of each kind."""


def _configure_reinstate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="DIGEST|WHEEL|RULE", help="an artifact, or a standing rule such as R13")
    parser.add_argument("--from-rule", metavar="RULE", help="except the artifact from this rule alone")
    parser.add_argument("--note", metavar="TEXT", required=True, help="why, for whoever approves and signs")
    add_server(parser)


def _reinstate(args: argparse.Namespace, output: Output) -> None:
    rule = _RULE.fullmatch(args.what)
    if rule and args.from_rule:
        raise UsageError("usage.arguments", "a rule is not excepted from a rule", expected="a digest or a wheel")
    digest = None if rule else digest_of(args.what)
    number = int(rule[1]) if rule else _number(args.from_rule) if args.from_rule else None
    if args.server:
        from verifier.refreshing.api_client import post

        body = {"digest": digest, "rule": number, "note": args.note}
        done = post(args.server, "/v1/reinstatements", api_token(args.token_file), document=body)
    else:
        with needing_the_extra():
            from crl_server.revocation.reinstating import Wish
        with opened(args) as authority:
            done = plain(authority.request_reinstatement(Wish(digest, number, args.note), local_actor(), now()))
    output.say(f"request {done['id']} is recorded; it waits for {done['missing']}")
    output.say(f"A second person: loadlock approve {done['id']} --server URL")
    output.result({"ok": True, **done})


def _configure_approve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", metavar="NUMBER", type=int, help="the request's number")
    add_server(parser, required=True)


def _approve(args: argparse.Namespace, output: Output) -> None:
    from verifier.refreshing.api_client import post

    path = f"/v1/reinstatements/{args.request}/approval"
    done = post(args.server, path, api_token(args.token_file), document={})
    output.say(f"request {args.request} is approved; the next checkpoint carries it out: loadlock checkpoint prepare")
    output.result({"ok": True, **done})


def _configure_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="where it is laid out; it must not exist")


def _prepare(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        done = authority.prepare_checkpoint(args.directory, local_actor(), now())
    output.say(
        f"checkpoint of epoch {done.epoch}, through seq {done.through}, {done.entries} entries: {done.directory}"
    )
    output.say(f"it takes back {len(done.taken_back)} artifacts and carries out {len(done.requests)} requests")
    output.say("Take it to two holders of a checkpoint key: loadlock checkpoint sign DIR --key FILE --root FINGERPRINT")
    output.result(
        {
            "ok": True,
            "directory": str(done.directory),
            "epoch": done.epoch,
            "through": done.through,
            "entries": done.entries,
            "taken_back": done.taken_back,
            "requests": done.requests,
        }
    )


def _configure_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="the checkpoint, as it was laid out")
    parser.add_argument("--key", metavar="FILE", type=Path, help="a checkpoint key; without it nothing is signed")
    parser.add_argument("--root", metavar="FINGERPRINT", required=True, help="of the deployment's first root")
    parser.add_argument(
        "--after-recovery", action="store_true", help="the database was lost and recovered, as you were told elsewhere"
    )


def _sign(args: argparse.Namespace, output: Output) -> None:
    with needing_the_extra():
        from crl_server.lists.countersigning import review, sign
        from crl_server.lists.dossier import Dossier
        from crl_server.trust.signing import SigningKey
    dossier = Dossier(args.directory)
    root = given(Digest, args.root, "the root's fingerprint")
    summary = review(dossier, root, now(), recovered=args.after_recovery)
    _show(summary, output)
    signatures = len(summary.keys)
    if args.key is None:
        output.say("Everything checks out. Nothing was signed: name your key with --key FILE.")
    else:
        signatures = sign(dossier, SigningKey.read_offline(args.key))
        output.say(f"signed; the checkpoint has {signatures} of 2 signatures")
    output.result(
        {
            "ok": True,
            "epoch": summary.checkpoint.epoch,
            "through": summary.checkpoint.through,
            "entries": summary.checkpoint.count,
            "digests": summary.digests,
            "rules": summary.rules,
            "cut": summary.checkpoint.carry == summary.checkpoint.epoch,
            "signatures": signatures,
            "gap": summary.gap,
        }
    )


def _show(summary: Summary, output: Output) -> None:
    found = summary.checkpoint
    output.say(f"checkpoint of epoch {found.epoch} of {found.deployment!s}, through seq {found.through}")
    output.say(f"{summary.before} entries before, {found.count} after")
    if summary.gap:
        output.say(f"  The audit log: {summary.gap}")
    for title, lines in (("taken back", summary.digests), ("rules", summary.rules)):
        for line in lines[:SHOWN]:
            output.say(f"  {title}: {line}")
        if len(lines) > SHOWN:
            output.say(f"  {title}: {len(lines) - SHOWN} more (--json shows all)")
    if found.carry == found.epoch:
        output.say("  It cuts off what hosts know from heads alone: meant for the theft of a head key only.")


def _configure_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="the checkpoint, with two signatures")


def _publish(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        from crl_server.lists.dossier import Dossier

        published = authority.publish_checkpoint(Dossier(args.directory), local_actor(), now())
    head = published.head
    output.say(f"epoch {head.epoch} is in force: {published.count} entries, seq {head.seq}")
    output.result({"ok": True, "epoch": head.epoch, "seq": head.seq, "entries": published.count})


def _number(rule: str) -> int:
    found = _RULE.fullmatch(rule)
    if not found:
        raise UsageError("usage.arguments", "not a rule's id", found=repr(rule[:40]), expected="R and a number")
    return int(found[1])


COMMANDS = (
    Command("reinstate", "ask for a revocation to be taken back", _configure_reinstate, _reinstate),
    Command("approve", "approve somebody else's reinstatement", _configure_approve, _approve),
    Command("checkpoint prepare", "lay out the next checkpoint for its two signers", _configure_prepare, _prepare),
    Command("checkpoint sign", "verify a checkpoint from the pinned root, and sign it", _configure_sign, _sign),
    Command("checkpoint publish", "put a checkpoint with two signatures in force", _configure_publish, _publish),
)
