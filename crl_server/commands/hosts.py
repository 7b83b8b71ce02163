"""``hosts ls``, ``coverage`` and ``running``: what hosts acknowledged, here or of a server; ``hosts forget``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from crl_server.commands.common import local_actor, needing_the_extra, now, opened, pages
from crl_server.commands.revoke import add_server
from verifier.command import Command, Output, given
from verifier.errors import Refused
from verifier.formats.strict_json import plain
from verifier.formats.text import Name
from verifier.refreshing.api_client import api_token, get

PAGE = 500
"""How many hosts are asked for at a time."""
MAX_ANSWER = 64 * 1024 * 1024
"""Size cap of one answer in bytes."""


def _configure_ls(parser: argparse.ArgumentParser) -> None:
    add_server(parser)


def _ls(args: argparse.Namespace, output: Output) -> None:
    found = list(_pages(args, "/v1/hosts", {}, "hosts"))
    for host in found:
        for one in host["instances"]:
            where = f"{one['state']:<10} epoch {one['epoch']} seq {one['seq']}, policy {one['policy']}"
            output.say(f"{host['host']:<32} {where}, {one['plugins']} plugins, heard {one['heard']}")
    output.say(f"{len(found)} hosts acknowledge")
    output.result({"ok": True, "hosts": found})


def _configure_coverage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seq", metavar="N", type=int, help="the event of the list (default: the last)")
    add_server(parser)


def _coverage(args: argparse.Namespace, output: Output) -> int:
    found = _ask(args, "/v1/coverage", {} if args.seq is None else {"seq": str(args.seq)})
    output.say(f"seq {found['seq']}: {found['enforcing']} of {found['hosts']} hosts enforce it")
    for state in ("lagging", "silent"):
        for host in found[state]:
            output.say(f"{state:<10}{host}")
        if found[f"{state}_count"] > len(found[state]):
            output.say(f"{state:<10}… and {found[f'{state}_count'] - len(found[state])} more")
    complete = not found["lagging_count"] and not found["silent_count"]
    output.result({"ok": complete, **found})
    return 0 if complete else Refused.exit_status


def _configure_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("purl", metavar="PURL", help="a package, such as pkg:pypi/foo")
    parser.add_argument("--range", metavar="RANGE", default="", help="the versions, such as '<2.1'")
    add_server(parser)


def _running(args: argparse.Namespace, output: Output) -> None:
    match = {"purl": args.purl} | ({"range": args.range} if args.range else {})
    found = list(_pages(args, "/v1/components/hosts", match, "running"))
    for row in found:
        state = "silent" if row["silent"] else f"{row['instances'] - row['stopped']} of {row['instances']} running"
        output.say(f"{row['host']:<32} {row['plugin_id']} {row['version']} {row['digest']} {state}")
    hosts, running = ({row["host"] for row in rows} for rows in (found, filter(_runs, found)))
    stopped = f", {len(hosts - running)} have stopped it" if hosts - running else ""
    output.say(f"{len(running)} hosts that acknowledge run it{stopped}")
    output.result({"ok": True, "running": found})


def _configure_forget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST", help="its name, as 'hosts ls' shows it")


def _forget(args: argparse.Namespace, output: Output) -> None:
    name = given(Name, args.host, "the host")
    with opened(args) as authority:
        instances = authority.forget_host(name, local_actor(), now())
    output.say(f"{name} is forgotten, with {instances} instances; whatever it says later counts again")
    output.result({"ok": True, "host": name, "instances": instances})


def _runs(row: dict[str, Any]) -> bool:
    return bool(row["instances"] > row["stopped"])


def _pages(args: argparse.Namespace, path: str, query: dict[str, str], name: str) -> Iterator[dict[str, Any]]:
    return pages(lambda after: _ask(args, path, query | {"after": after, "limit": str(PAGE)}), name, "")


def _ask(args: argparse.Namespace, path: str, query: dict[str, str]) -> dict[str, Any]:
    """The answer of a server, or of the deployment itself."""
    if args.server:
        asked = f"{path}?{urlencode(query)}" if query else path
        return get(args.server, asked, api_token(args.token_file), limit=MAX_ANSWER)
    with needing_the_extra():
        from crl_server.api import hosts
    moment, after = now(), query.get("after", "")
    found: Any
    with opened(args) as authority:
        if path == "/v1/hosts":
            found = hosts.listed(authority, after, PAGE, moment)
        elif path == "/v1/coverage":
            found = hosts.coverage(authority, args.seq, moment)
        else:
            match: dict[str, Any] = {name: value for name, value in query.items() if name in ("purl", "range")}
            found = hosts.running(authority, match, after, PAGE, moment)
    values: dict[str, Any] = plain(found)
    return values


COMMANDS = (
    Command("hosts ls", "list the hosts that acknowledge, and what they go by", _configure_ls, _ls),
    Command("hosts coverage", "show how many hosts enforce a revocation", _configure_coverage, _coverage),
    Command("hosts running", "show which hosts run a library now", _configure_running, _running),
    Command("hosts forget", "take a host that is gone out of every count", _configure_forget, _forget),
)
