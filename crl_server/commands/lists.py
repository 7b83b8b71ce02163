"""``revoke`` and ``audit log``."""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path
from typing import Any

from crl_server.commands.common import local_actor, needing_the_extra, now, opened
from crl_server.rules import REASONS
from verifier.api_client import TOKEN, api_token
from verifier.command import Command, Output
from verifier.errors import UsageError
from verifier.files import read_capped
from verifier.formats.strict_json import plain
from verifier.formats.text import Digest
from verifier.wheel import DEFAULT_LIMITS

SHOWN = 50
"""How many entries of the audit log are shown unless asked otherwise."""

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
    parser.add_argument("--reason", choices=REASONS, required=True, help="why")
    parser.add_argument("--note", metavar="TEXT", default="", help="a sentence for those who ask later")
    parser.add_argument("--dry-run", action="store_true", help="only show which admitted artifacts it would reach")
    add_server(parser)
    parser.add_argument("--idempotency-key", metavar="KEY", default="", help="the same key does it once")


def _revoke(args: argparse.Namespace, output: Output) -> None:
    rule = _rule(args)
    if (rule is None) == (not args.artifacts) or (args.excepted and rule is None) or (args.range and not args.purl):
        raise UsageError(
            "usage.arguments", "what is to be revoked", expected="digests or wheels, or one rule; --range with --purl",
        )  # fmt: skip
    digests = tuple(dict.fromkeys(digest_of(word) for word in args.artifacts))
    done = _ask(args, digests, rule) if args.server else _act(args, digests, rule)
    if args.dry_run:
        for found in done["reached"]:
            listed = " (revoked already)" if found["listed"] else ""
            output.say(f"{found['plugin_id']} {found['version']} {found['digest']}{listed}")
        for found in done["running"]:
            output.say(f"runs on {found['host']}: {found['plugin_id']} {found['version']}")
        reach = f"{done['artifacts']} admitted artifacts of {len(done['plugins'])} plugins, on {done['hosts']} hosts"
        output.say(f"it would reach {reach} that acknowledge")
        output.result({"ok": True, "dry_run": True, **done})
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
        from crl_server.revoking import Order
        from crl_server.standing import NewRule
    done: Any
    with opened(args) as authority:
        if rule is not None:
            excepted = tuple(digest_of(word) for word in args.excepted)
            wanted = NewRule(rule["kind"], rule["match"], args.reason, args.note, excepted)
            done = authority.radius(wanted, now()) if args.dry_run else authority.add_rule(
                wanted, local_actor(), now(), args.idempotency_key
            )  # fmt: skip
        else:
            order = Order(digests, args.reason, args.note)
            done = authority.radius(order, now()) if args.dry_run else authority.revoke(
                order, local_actor(), now(), args.idempotency_key
            )  # fmt: skip
    found: dict[str, Any] = plain(done)
    return found


def _ask(args: argparse.Namespace, digests: tuple[Digest, ...], rule: dict[str, Any] | None) -> dict[str, Any]:
    from verifier.api_client import post

    body: dict[str, Any] = {"reason": args.reason, "note": args.note, "dry_run": args.dry_run}
    if rule is not None:
        body |= rule | {"except": [digest_of(word) for word in args.excepted]}
    else:
        body["digests"] = list(digests)
    path = "/v1/rules" if rule is not None else "/v1/revocations"
    return post(args.server, path, api_token(args.token_file), document=body, key=args.idempotency_key)


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


def _configure_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", metavar="N", type=int, default=SHOWN, help=f"show the last N entries ({SHOWN})")


def _audit(args: argparse.Namespace, output: Output) -> None:
    if args.last < 0:
        raise UsageError("usage.arguments", "not a number of entries", found=str(args.last))
    with opened(args) as authority:
        from crl_server.audit import parse_entry

        state = authority.verify_audit(now())
        with authority.store.read() as ledger:
            entries = [parse_entry(line) for line in ledger.audit_lines(after=max(state.count - args.last, 0) - 1)]
    for entry in entries:
        output.say(f"{entry.index:>6}  {entry.time}  {entry.actor:<20}  {entry.action:<18}  {entry.subject}")
    output.say(
        f"{state.count} entries in one unbroken chain that ends in {state.sha256}; the signed list vouches for it"
    )
    output.result({"ok": True, "verified": True, "state": plain(state), "entries": [plain(entry) for entry in entries]})


COMMANDS = (
    Command("revoke", "revoke artifacts, or whatever a standing rule matches", _configure_revoke, _revoke),
    Command("audit log", "verify the audit log and show its end", _configure_audit, _audit),
)
