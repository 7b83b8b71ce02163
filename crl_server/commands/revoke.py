"""``revoke``: artifacts, whatever a standing rule matches, or many at once."""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path
from typing import Any

from crl_server.commands.common import local_actor, needing_the_extra, now, opened
from crl_server.lists.rules import REASONS, SEVERITIES
from verifier.command import Command, Output
from verifier.errors import UsageError
from verifier.files import read_capped
from verifier.formats.strict_json import convert, loads, plain
from verifier.formats.text import Digest
from verifier.refreshing.api_client import TOKEN, api_token
from verifier.wheels.wheel import DEFAULT_LIMITS

MAX_FILE = 16 * 1024 * 1024
"""Size cap of a file of digests or advisories in bytes."""

_PLUGIN = re.compile(r"([A-Za-z0-9_.\-]*)(.*)", re.DOTALL)
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def add_server(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """The arguments of a command that can ask a server."""
    parser.add_argument("--server", metavar="URL", required=required, help="ask this server")
    parser.add_argument("--token-file", metavar="FILE", type=Path, help=f"a file with the API token (else ${TOKEN})")


def _configure_revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifacts", metavar="DIGEST|WHEEL", nargs="*", help="a sha256 digest, or a wheel's file")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--purl", metavar="PURL", help="whatever brings this package along, such as pkg:pypi/foo")
    which.add_argument("--signer", metavar="NAME|KEY", help="whatever this principal, or this key, has signed")
    which.add_argument("--builder", metavar="ID", help="whatever this builder has built")
    which.add_argument("--source", metavar="REPOSITORY[#COMMIT]", help="whatever was built from there")
    which.add_argument("--plugin", metavar="ID[RANGE]", help="versions of a plugin, such as 'csv_exporter<1.2'")
    parser.add_argument("--range", metavar="RANGE", help="with --purl: the versions, such as '<2.1'")
    parser.add_argument("--except", metavar="DIGEST", dest="excepted", action="append", default=[], help="but not this")
    parser.add_argument("--file", metavar="FILE", type=Path, help="many digests, one a line; '#' begins a remark")
    parser.add_argument(
        "--osv", metavar="PATH", type=Path, action="append", default=[],
        help="advisories in the OSV format: a file of one or of a list, or a directory; a rule for each range",
    )  # fmt: skip
    parser.add_argument("--once", action="store_true", help="with --osv: revoke what is there today, without rules")
    parser.add_argument("--reason", choices=REASONS, required=True, help="why")
    parser.add_argument("--severity", choices=SEVERITIES, help="how severe, where no advisory says so")
    parser.add_argument("--note", metavar="TEXT", default="", help="a sentence for those who ask later")
    parser.add_argument("--dry-run", action="store_true", help="only show which admitted artifacts it would reach")
    parser.add_argument(
        "--confirm", metavar="N", type=int, default=0, help="deny up to N admitted artifacts, however many that is"
    )
    add_server(parser)
    parser.add_argument("--idempotency-key", metavar="KEY", default="", help="the same key does it once")


def _revoke(args: argparse.Namespace, output: Output) -> None:
    if args.file or args.osv:
        _sweep(args, output)
        return
    rule = _rule(args)
    if (
        args.once
        or (rule is None) == (not args.artifacts)
        or (args.excepted and rule is None)
        or (args.range and not args.purl)
    ):
        raise UsageError(
            "usage.arguments", "what is to be revoked",
            expected="digests or wheels, or one rule, or --file and --osv; --range with --purl, --once with --osv",
        )  # fmt: skip
    digests = tuple(dict.fromkeys(digest_of(word) for word in args.artifacts))
    done = _ask(args, digests, rule) if args.server else _act(args, digests, rule)
    if args.dry_run:
        _say_radius(done, output)
        return
    for digest in done.get("revoked", []):
        output.say(f"revoked {digest}")
    for digest in done.get("already", []):
        output.say(f"was revoked already: {digest}")
    rule_id = f"rule {done['rule']} is in force, " if rule else ""
    output.say(f"{rule_id}signed and published as seq {done['seq']} of the list")
    output.result({"ok": True, **done})


def _rule(args: argparse.Namespace) -> dict[str, Any] | None:
    """The kind and match that the arguments name, if they name a rule."""
    if args.purl:
        return {"kind": "component", "match": {"purl": args.purl} | ({"range": args.range} if args.range else {})}
    if args.signer:
        field = "key" if args.signer.startswith("sha256:") else "principal"
        return {"kind": "signer", "match": {field: args.signer}}
    if args.builder:
        return {"kind": "builder", "match": {"id": args.builder}}
    if args.source:
        repository, _, commit = args.source.partition("#")
        return {"kind": "source", "match": {"repository": repository} | ({"commit": commit} if commit else {})}
    if args.plugin:
        name, versions = _PLUGIN.fullmatch(args.plugin).groups()  # type: ignore[union-attr]
        return {"kind": "plugin", "match": {"id": name} | ({"range": versions} if versions else {})}
    return None


def _act(args: argparse.Namespace, digests: tuple[Digest, ...], rule: dict[str, Any] | None) -> dict[str, Any]:
    with needing_the_extra():
        from crl_server.revocation.revoking import Order
        from crl_server.revocation.standing import NewRule
    done: Any
    with opened(args) as authority:
        if rule is not None:
            excepted = tuple(digest_of(word) for word in args.excepted)
            wanted = NewRule(rule["kind"], rule["match"], args.reason, args.note, excepted, args.severity, args.confirm)
            done = authority.radius(wanted, now()) if args.dry_run else authority.add_rule(
                wanted, local_actor(), now(), args.idempotency_key
            )  # fmt: skip
        else:
            order = Order(digests, args.reason, args.note, args.severity, args.confirm)
            done = authority.radius(order, now()) if args.dry_run else authority.revoke(
                order, local_actor(), now(), args.idempotency_key
            )  # fmt: skip
    found: dict[str, Any] = plain(done)
    return found


def _ask(args: argparse.Namespace, digests: tuple[Digest, ...], rule: dict[str, Any] | None) -> dict[str, Any]:
    from verifier.refreshing.api_client import post

    body = _why(args)
    if rule is not None:
        body |= rule | {"except": [digest_of(word) for word in args.excepted]}
    else:
        body["digests"] = list(digests)
    path = "/v1/rules" if rule is not None else "/v1/revocations"
    return post(args.server, path, api_token(args.token_file), document=body, key=args.idempotency_key)


def _say_radius(done: dict[str, Any], output: Output) -> None:
    for found in done["reached"]:
        listed = " (revoked already)" if found["listed"] else ""
        output.say(f"{found['plugin_id']} {found['version']} {found['digest']}{listed}")
    for found in done["running"]:
        output.say(f"runs on {found['host']}: {found['plugin_id']} {found['version']}")
    reach = f"{done['artifacts']} admitted artifacts of {len(done['plugins'])} plugins, on {done['hosts']} hosts"
    output.say(f"it would reach {reach} that acknowledge")
    output.result({"ok": True, "dry_run": True, **done})


def _sweep(args: argparse.Namespace, output: Output) -> None:
    """Many at once: digests named and in a file, and what advisories say."""
    if _rule(args) is not None or args.excepted or args.range:
        raise UsageError("usage.arguments", "what is to be revoked", expected="--file and --osv stand without a rule")
    words = [*args.artifacts, *(_lines(args.file) if args.file else ())]
    digests = tuple(dict.fromkeys(digest_of(word) for word in words))
    body = _why(args) | {"digests": list(digests), "osv": _advisories(args.osv), "resolve": args.once}
    if args.server:
        from verifier.refreshing.api_client import post

        done = post(
            args.server, "/v1/revocations/bulk", api_token(args.token_file), document=body, key=args.idempotency_key
        )
    else:
        done = _sweep_here(args, body)
    if args.dry_run:
        _say_radius(done, output)
        return
    for digest in done["digests"]:
        output.say(f"revoked {digest}")
    output.say(f"{done['listed']} revoked, {done['already']} were revoked already; {len(done['rules'])} rules are new")
    output.say(f"signed and published as seq {done['seq']} of the list")
    output.result({"ok": True, **done})


def _sweep_here(args: argparse.Namespace, body: dict[str, Any]) -> dict[str, Any]:
    with needing_the_extra():
        from crl_server.api.sweeps import SweepBody, sweep_of
    wanted = sweep_of(convert(body, SweepBody, what="order"))
    done: Any
    with opened(args) as authority:
        done = authority.radius(wanted, now()) if args.dry_run else authority.sweep(
            wanted, local_actor(), now(), args.idempotency_key
        )  # fmt: skip
    found: dict[str, Any] = plain(done)
    return found


def _why(args: argparse.Namespace) -> dict[str, Any]:
    said = {"reason": args.reason, "note": args.note, "dry_run": args.dry_run, "confirm": args.confirm}
    return said if args.severity is None else said | {"severity": args.severity}


def _lines(path: Path) -> list[str]:
    """The digests in a file, one a line."""
    text = read_capped(path, MAX_FILE, "the list of digests").decode("utf-8", "replace")
    words = [line.partition("#")[0].strip() for line in text.splitlines()]
    for word in words:
        if word and not _DIGEST.fullmatch(word):
            raise UsageError(
                "usage.arguments", "the file holds something else", found=ascii(word[:80]), expected="sha256:…"
            )
    return [word for word in words if word]


def _advisories(places: list[Path]) -> list[dict[str, Any]]:
    """The advisories in files and directories, with what is read of them and no more."""
    from verifier.formats.advisory import Advisory

    found: list[dict[str, Any]] = []
    for place in places:
        for path in sorted(place.glob("**/*.json")) if place.is_dir() else [place]:
            value = loads(read_capped(path, MAX_FILE, "the advisory"), limit=MAX_FILE, what=f"advisory {path.name}")
            for one in value if isinstance(value, list) else [value]:
                shown: dict[str, Any] = plain(convert(one, Advisory, what=f"advisory {path.name}"))
                found.append(shown)
    if places and not found:
        raise UsageError("usage.arguments", "there is no advisory", expected="a file, or a directory of .json files")
    return found


def digest_of(word: str) -> Digest:
    """The digest that an argument states, or that of the wheel it names.

    Raises:
        UsageError: ``usage.arguments``, ``io.failed``.
    """
    named = _DIGEST.fullmatch(word)
    if named:
        return Digest(f"sha256:{named[1]}")
    path = Path(word)
    if not path.is_file():
        raise UsageError(
            "usage.arguments", "neither a digest nor a file", found=repr(word[:200]), expected="sha256:… or a wheel"
        )
    return Digest(f"sha256:{hashlib.sha256(read_capped(path, DEFAULT_LIMITS.archive, 'wheel')).hexdigest()}")


COMMANDS = (Command("revoke", "revoke artifacts, or whatever a standing rule matches", _configure_revoke, _revoke),)
