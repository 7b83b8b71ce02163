"""``init`` and ``serve``."""

from __future__ import annotations

import argparse
from os import environ
from pathlib import Path

from crl_server.commands.common import local_actor, needing_the_extra, now, opened
from crl_server.operating.logs import FORMATS, LEVELS
from verifier.command import Command, Output, given
from verifier.deployment.place import DIRECTORY_NAME
from verifier.errors import UsageError
from verifier.formats.enrolment import ServerUrl
from verifier.formats.revocations import sha256_hex
from verifier.formats.text import Duration, Name, Time, Version

DEFAULT_SERVER = "http://127.0.0.1:8600"
DEMO = "demo"


def _configure_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", nargs="?", metavar="DIR", help=f"where it is made (default: {DIRECTORY_NAME})")
    parser.add_argument("--id", metavar="NAME", help="the deployment's id (a demo's default: demo)")
    parser.add_argument("--profile", choices=("demo", "production"), default="production", help="what it is for")
    parser.add_argument("--server", metavar="URL", default=DEFAULT_SERVER, help="where hosts will find its server")
    parser.add_argument("--host-api", metavar="VERSION", default="1.0", help="the API version that hosts offer")
    parser.add_argument("--list-lifetime", metavar="DURATION", default="PT24H", help="how long a list is valid")


def _init(args: argparse.Namespace, output: Output) -> None:
    directory = Path(args.directory or args.deployment or DIRECTORY_NAME)
    identity = args.id or (DEMO if args.profile == DEMO else None)
    if identity is None:
        raise UsageError("usage.arguments", "a production deployment needs an id", expected="--id NAME")
    with needing_the_extra():
        from crl_server.layout import Deployment, Layout
        from crl_server.storage.databases import DATABASE_URL
        from crl_server.trust.initialise import Plan, initialise
        from crl_server.trust.repository import Repository
    moment = now()
    record = Deployment(
        v=1,
        deployment=given(Name, identity, "the id"),
        server=given(ServerUrl, args.server, "the server's address"),
        created=Time.of(moment),
        head_life=_lifetime(args.list_lifetime),
    )
    plan = Plan(record, args.profile, given(Version, args.host_api, "the API version"), environ.get(DATABASE_URL, ""))
    policy = initialise(directory, plan, local_actor(), moment)
    layout = Layout(directory)
    root = f"sha256:{sha256_hex(Repository(layout.trust).root(1))}"
    output.say(f"deployment {record.deployment!s} made in {directory}")
    output.say(f"root of trust {root}")
    output.say(f"policy 1 is valid until {policy.valid_until}; sign it again before that: loadlock trust policy")
    if args.profile == DEMO:
        output.say("This is a demo: keys of all roles lie in it together. Never let a real host trust it.")
    else:
        output.say(f"Now move {layout.offline} to a medium that this machine does not hold, in two people's hands:")
        output.say("the server refuses to start while it can read those keys. Name it with --keys when you sign.")
    output.result(
        {
            "ok": True,
            "directory": str(directory),
            "deployment": record.deployment,
            "profile": args.profile,
            "server": record.server,
            "root": root,
            "offline": str(layout.offline),
            "valid_until": policy.valid_until,
        }
    )


def _lifetime(text: str) -> Duration:
    life = given(Duration, text, "the list's lifetime")
    if not 300 <= life.span.total_seconds() <= 30 * 86400:
        raise UsageError("usage.arguments", "the list's lifetime is not usable", found=text, expected="PT5M to P30D")
    return life


def _configure_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", metavar="PORT", type=int, help="the port (default: that of the deployment's address)")
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="how many processes serve (1)")
    parser.add_argument("--log-format", choices=FORMATS, default="text", help="how it logs (text)")
    parser.add_argument("--log-level", choices=LEVELS, default="warning", help="from which level on it logs (warning)")


def _serve(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority, needing_the_extra():
        from crl_server.operating import logs
        from crl_server.operating.serving import port_of, serve
        from crl_server.processes.team import Team, check_count

        port = port_of(authority.record.server) if args.port is None else args.port
        if not 0 <= port <= 65535:
            raise UsageError("usage.arguments", "no such port", found=str(port), expected="0 to 65535")
        check_count(args.workers)
        team = None if args.workers == 1 else Team(args.workers, args.log_format, args.log_level)

        def announce(address: str) -> None:
            output.say(f"serving deployment {authority.record.deployment!s} at {address}; end with Ctrl-C")
            output.result({"ok": True, "address": address, "deployment": authority.record.deployment})

        with logs.configured(args.log_format, args.log_level):
            serve(authority, args.host, port, announce, team=team)


COMMANDS = (
    Command("init", "make a deployment: policy, keys, first checkpoint, first signed list", _configure_init, _init),
    Command("serve", "run the server; re-sign what is about to expire", _configure_serve, _serve),
)
