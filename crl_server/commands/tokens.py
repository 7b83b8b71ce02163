"""``token create``, ``token revoke`` and ``token ls``."""

from __future__ import annotations

import argparse
from datetime import timedelta

from crl_server.access.roles import ROLES
from crl_server.commands.common import local_actor, now, opened
from verifier.command import Command, Output, given
from verifier.formats.text import Name, PluginId, Time

DEFAULT_DAYS = 90


def _configure_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="whose it is; a name is used once")
    parser.add_argument("--role", metavar="ROLE", action="append", required=True, choices=ROLES, help=", ".join(ROLES))
    parser.add_argument("--host", metavar="HOST", help="with the role host, and only with it: which one speaks")
    parser.add_argument(
        "--plugin", metavar="ID", action="append", default=[], help="with the role publisher: only this one, or these"
    )
    parser.add_argument(
        "--days", metavar="N", type=int, default=DEFAULT_DAYS, help=f"valid for (default {DEFAULT_DAYS})"
    )


def _create(args: argparse.Namespace, output: Output) -> None:
    moment, life = now(), timedelta(days=max(min(args.days, 10_000), 0))
    with opened(args) as authority:
        name, host = given(Name, args.name, "the name"), args.host and given(Name, args.host, "the host")
        plugins = [given(PluginId, plugin, "the plugin") for plugin in args.plugin]
        token = authority.create_token(name, args.role, life, local_actor(), moment, host, plugins)
    expires = Time.of(moment + life)
    output.say(token)
    output.say(f"for {args.name}, as {', '.join(args.role)}, until {expires}. It is shown once and kept nowhere.")
    output.result({"ok": True, "token": token, "name": args.name, "roles": sorted(set(args.role)), "expires": expires})


def _configure_revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="whose token is taken back")


def _revoke(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        authority.revoke_token(given(Name, args.name, "the name"), local_actor(), now())
    output.say(f"the token of {args.name} is no longer valid")
    output.result({"ok": True, "name": args.name, "revoked": True})


def _configure_ls(_: argparse.ArgumentParser) -> None:
    """Nothing to ask."""


def _ls(args: argparse.Namespace, output: Output) -> None:
    from crl_server.access.tokens import tokens

    moment = Time.of(now())
    with opened(args) as authority, authority.store.read() as ledger:
        rows = tokens(ledger)
    listed = [
        {
            "name": row.name,
            "roles": row.roles.split(),
            "host": row.host,
            "created": row.created,
            "expires": row.expires,
            "revoked": row.revoked,
            "valid": row.revoked is None and moment < row.expires,
        }
        for row in rows
    ]
    for row, shown in zip(rows, listed, strict=True):
        state = f"until {row.expires}" if shown["valid"] else f"revoked {row.revoked}" if row.revoked else "expired"
        output.say(f"{row.name:<24} {row.roles:<40} {state}")
    output.result({"ok": True, "tokens": listed})


COMMANDS = (
    Command("token create", "make an API token with a role", _configure_create, _create),
    Command("token ls", "list API tokens", _configure_ls, _ls),
    Command("token revoke", "take an API token back", _configure_revoke, _revoke),
)
