"""``waive ask``, ``waive approve``, ``waive end``, ``waive ls`` and ``waive sign``."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from crl_server.commands.common import local_actor, needing_the_extra, now, opened, pages
from crl_server.commands.revoke import add_server, digest_of
from crl_server.commands.trust import configure_keys, sign
from verifier.command import Command, Output
from verifier.errors import UsageError
from verifier.formats.strict_json import plain
from verifier.formats.text import Time
from verifier.refreshing.api_client import api_token, get, post

LIFTS = ("certification-expiry", "stale-list")
MAX_HOURS = 168
PAGE = 200
"""How many waivers are asked for at a time: with the longest reasons they fit into one answer."""


def _configure_ask(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", metavar="DIGEST|WHEEL", help="what is to pass")
    parser.add_argument("--lift", choices=LIFTS, required=True, help="which end is not to count")
    parser.add_argument("--hours", metavar="N", type=int, required=True, help=f"for how long, at most {MAX_HOURS}")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="a sentence for everybody who sees it used")
    add_server(parser)


def _ask(args: argparse.Namespace, output: Output) -> None:
    if not 1 <= args.hours <= MAX_HOURS:
        raise UsageError("usage.arguments", "the hours of a waiver", expected=f"1 to {MAX_HOURS}")
    artifact, until = digest_of(args.artifact), Time.of(now() + timedelta(hours=args.hours))
    if args.server:
        body = {"artifact": artifact, "lifts": args.lift, "until": until, "reason": args.reason}
        done = post(args.server, "/v1/waivers", api_token(args.token_file), document=body)
    else:
        with needing_the_extra():
            from crl_server.api.waivers import ask
            from crl_server.revocation.waiving import Plea
        with opened(args) as authority:
            plea = Plea(artifact, args.lift, until, args.reason)
            done = plain(ask(authority, plea, local_actor(), now()))
    _say_requested(done, output, until=until)


def _configure_number(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="N", type=int, help="the waiver's number")
    add_server(parser)


def _approve(args: argparse.Namespace, output: Output) -> None:
    _step(args, output, "approval")


def _end(args: argparse.Namespace, output: Output) -> None:
    _step(args, output, "end")


def _step(args: argparse.Namespace, output: Output, step: str) -> None:
    """Take a waiver one step on: ``approval`` or ``end``."""
    if args.number < 1:
        raise UsageError("usage.arguments", "not a waiver's number", found=str(args.number))
    if args.server:
        done = post(args.server, f"/v1/waivers/{args.number}/{step}", api_token(args.token_file), document={})
    else:
        with needing_the_extra():
            from crl_server.api import waivers
        take = {"approval": waivers.agree, "end": waivers.end}[step]
        with opened(args) as authority:
            done = plain(take(authority.store, args.number, local_actor(), now()))
    _say_requested(done, output)


def _say_requested(done: dict[str, Any], output: Output, **more: Any) -> None:
    output.say(f"waiver {done['id']}: what is missing is {done['missing']}")
    output.result({"ok": True, **done, **more})


def _configure_ls(parser: argparse.ArgumentParser) -> None:
    add_server(parser)


def _ls(args: argparse.Namespace, output: Output) -> None:
    found = _all_waivers(args)
    moment = Time.of(now())
    for row in found:
        over = row["ended_at"] is not None or row["until"] <= moment
        state = "ended" if over else "waits" if row["approved_by"] is None else "approved"
        output.say(f"{row['id']:>5} {state:<9}{row['lifts']:<21} until {row['until']} {row['artifact']}")
    output.say(f"{len(found)} waivers")
    output.result({"ok": True, "waivers": found})


def _all_waivers(args: argparse.Namespace) -> list[dict[str, Any]]:
    if args.server:
        token = api_token(args.token_file)
        return list(pages(lambda n: get(args.server, f"/v1/waivers?after={n}&limit={PAGE}", token), "waivers", 0))
    with needing_the_extra():
        from crl_server.api.waivers import waivers
    with opened(args) as authority:
        return list(pages(lambda n: plain(waivers(authority.store, n, PAGE)), "waivers", 0))


def _sign(args: argparse.Namespace, output: Output) -> None:
    from crl_server.revocation.waiving import in_effect
    from crl_server.trust.policies import with_waivers

    with opened(args) as authority, authority.store.read() as ledger:
        wanted = in_effect(ledger, now())
    more = {"waivers": [waiver.id for waiver in wanted]}
    sign(args, output, lambda office: with_waivers(office.text(), wanted), why="waivers", more=more)


COMMANDS = (
    Command("waive ask", "ask to let an artifact pass although something has ended", _configure_ask, _ask),
    Command("waive approve", "agree to a waiver that somebody else asked for", _configure_number, _approve),
    Command("waive end", "end a waiver before its time", _configure_number, _end),
    Command("waive ls", "list waivers", _configure_ls, _ls),
    Command("waive sign", "sign the policy with the waivers that two people want", configure_keys, _sign),
)
