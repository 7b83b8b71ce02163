"""``revoke`` and ``audit log``."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from crl_server.commands.common import local_actor, needing_the_extra, now, opened
from crl_server.rules import REASONS
from verifier.command import Command, Output
from verifier.errors import UsageError
from verifier.files import read_capped
from verifier.formats.strict_json import plain
from verifier.formats.text import Digest
from verifier.wheel import DEFAULT_LIMITS

TOKEN = "LOADLOCK_TOKEN"
"""The environment variable that holds an API token."""
MAX_TOKEN = 1024
SHOWN = 50
"""How many entries of the audit log are shown unless asked otherwise."""

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def _configure_revoke(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifacts", metavar="DIGEST|WHEEL", nargs="+", help="a sha256 digest, or a wheel's file")
    parser.add_argument("--reason", choices=REASONS, required=True, help="why")
    parser.add_argument("--note", metavar="TEXT", default="", help="a sentence for those who ask later")
    parser.add_argument("--server", metavar="URL", help="ask this server (else: act on the deployment's directory)")
    parser.add_argument("--token-file", metavar="FILE", type=Path, help=f"a file with the API token (else ${TOKEN})")
    parser.add_argument("--idempotency-key", metavar="KEY", default="", help="the same key does it once")


def _revoke(args: argparse.Namespace, output: Output) -> None:
    digests = tuple(dict.fromkeys(_digest(word) for word in args.artifacts))
    done = _ask(args, digests) if args.server else _act(args, digests)
    for digest in done["revoked"]:
        output.say(f"revoked {digest}")
    for digest in done.get("already", []):
        output.say(f"was revoked already: {digest}")
    output.say(f"signed and published as seq {done['seq']} of the list")
    output.result({"ok": True, **done})


def _act(args: argparse.Namespace, digests: tuple[Digest, ...]) -> dict[str, Any]:
    with needing_the_extra():
        from crl_server.revoking import Order
    order = Order(digests, args.reason, args.note)
    with opened(args) as authority:
        done: dict[str, Any] = plain(authority.revoke(order, local_actor(), now(), args.idempotency_key))
    return done


def _ask(args: argparse.Namespace, digests: tuple[Digest, ...]) -> dict[str, Any]:
    from verifier.api_client import post

    body = {"digests": list(digests), "reason": args.reason, "note": args.note}
    return post(args.server, "/v1/revocations", _token(args.token_file), document=body, key=args.idempotency_key)


def _digest(word: str) -> Digest:
    named = _DIGEST.fullmatch(word)
    if named:
        return Digest(f"sha256:{named[1]}")
    path = Path(word)
    if not path.is_file():
        raise UsageError(
            "usage.arguments", "neither a digest nor a file", found=repr(word[:200]), expected="sha256:… or a wheel"
        )
    return Digest(f"sha256:{hashlib.sha256(read_capped(path, DEFAULT_LIMITS.archive, 'wheel')).hexdigest()}")


def _token(path: Path | None) -> str:
    raw = read_capped(path, MAX_TOKEN, "token") if path else os.environ.get(TOKEN, "").encode()
    token = raw.decode("ascii", "replace").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise UsageError("usage.configuration", "no usable API token", expected=f"--token-file FILE or ${TOKEN}")
    return token


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
    Command("revoke", "revoke an artifact", _configure_revoke, _revoke),
    Command("audit log", "verify the audit log and show its end", _configure_audit, _audit),
)
