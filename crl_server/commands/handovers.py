"""``trust rotate-principal`` and ``trust transfer``: a handover, made a policy that takes the offline key to sign."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crl_server.commands.common import now, opened
from crl_server.commands.trust import configure_keys, public_key_of, sign
from verifier.command import Command, Output, given
from verifier.errors import Refused, UsageError
from verifier.files import read_capped, write_atomic
from verifier.formats.text import Digest, Name, PluginId

if TYPE_CHECKING:
    from datetime import datetime

    from crl_server.service import Authority
    from crl_server.trust.handovers import Status
    from verifier.formats.handover import Handover
    from verifier.formats.policy import Policy
    from verifier.signatures.keys import PublicKey

MAX_NOTE = 500
"""How many characters a note for the audit log may have."""


@dataclass(frozen=True)
class _Change:
    """What is to be done to the policy: the text after it, why, and what follows from it."""

    text: str
    why: str
    accepted: tuple[Digest, ...]
    consequences: tuple[str, ...]


def _configure(parser: argparse.ArgumentParser) -> None:
    configure_keys(parser)
    parser.add_argument("file", nargs="?", metavar="FILE", help="the handover that both have signed")
    parser.add_argument(
        "--without-consent", metavar="NOTE", help="nobody could sign (a lost or stolen key): why; it is recorded"
    )
    accepted = parser.add_mutually_exclusive_group(required=True)
    accepted.add_argument(
        "--accept", metavar="DIGEST", action="append", help="an earlier release that goes on counting"
    )
    accepted.add_argument(
        "--accept-admitted", action="store_true", help="all that the registry admitted and nobody revoked"
    )
    accepted.add_argument("--accept-none", action="store_true", help="no earlier release counts any more")
    parser.add_argument("--write", metavar="FILE", type=Path, help="write the new policy.toml there, and sign nothing")


def _configure_rotate(parser: argparse.ArgumentParser) -> None:
    _configure(parser)
    parser.add_argument("--name", metavar="NAME", help="the principal, without consent")
    parser.add_argument("--public-key", metavar="PEM", type=Path, help="its new public key, without consent")
    parser.add_argument("--compromised", action="store_true", help="the old key was stolen: nothing of it counts")


def _configure_transfer(parser: argparse.ArgumentParser) -> None:
    _configure(parser)
    parser.add_argument("--plugin", metavar="ID", help="the plugin, without consent")
    parser.add_argument("--from", dest="giver", metavar="NAME", help="its owner, without consent")
    parser.add_argument("--to", dest="taker", metavar="NAME", help="its next owner, without consent")


def _rotate(args: argparse.Namespace, output: Output) -> None:
    _check_way(args, ("name", "public_key"))
    if args.compromised and (args.file or not args.accept_none):
        raise UsageError(
            "usage.arguments", "a stolen key can ask for anything, and nothing of it counts",
            expected="--compromised with --without-consent and --accept-none",
        )  # fmt: skip
    _apply(args, output, rotation=True)


def _transfer(args: argparse.Namespace, output: Output) -> None:
    _check_way(args, ("plugin", "giver", "taker"))
    _apply(args, output, rotation=False)


def _check_way(args: argparse.Namespace, named: tuple[str, ...]) -> None:
    """Either a handover that was signed, or everything named by hand with a note."""
    by_hand = [getattr(args, name) is not None for name in (*named, "without_consent")]
    if bool(args.file) == any(by_hand) or (any(by_hand) and not all(by_hand)):
        words = {"giver": "from", "taker": "to", "public_key": "public-key"}
        options = ", ".join(f"--{words.get(name, name)}" for name in named)
        raise UsageError(
            "usage.arguments", "either a handover or the change itself has to be named",
            expected=f"FILE, or {options} and --without-consent",
        )  # fmt: skip


def _apply(args: argparse.Namespace, output: Output, *, rotation: bool) -> None:
    moment = now()
    with opened(args) as authority:
        before = authority.office(args.keys).text()
        change = (_rotation if rotation else _passing)(args, authority, moment)
        for line in (*_difference(before, change.text), "", *change.consequences):
            output.say(line)
        if args.write is not None:
            _write(args, output, authority, change, moment)
            return
    sign(args, output, lambda _: change.text, why=change.why, more={"accepted": list(change.accepted)})


def _write(args: argparse.Namespace, output: Output, authority: Authority, change: _Change, moment: datetime) -> None:
    from crl_server.trust.policies import to_sign

    policy = authority.repository.trust().policy
    to_sign(change.text, policy.deployment, policy.version + 1, moment)
    write_atomic(args.write, change.text.encode())
    output.say(f"Nothing is signed. To put it in force: loadlock trust policy --set-from {args.write}")
    output.result({"ok": True, "written": str(args.write), "accepted": list(change.accepted), "signed": False})


def _rotation(args: argparse.Namespace, authority: Authority, moment: datetime) -> _Change:
    from crl_server.trust.handovers import check_key, with_new_key
    from verifier.signatures.keys import PublicKey

    policy = authority.repository.trust().policy
    handover, why = _handover(args, policy, moment)
    if handover is None:
        name, new, old = given(Name, args.name, "the name"), public_key_of(args.public_key), None
    else:
        _check_kind(handover.plugin is None, "trust transfer")
        name, new, old = handover.giver, PublicKey.from_policy(handover.new), handover.old
    check_key(policy, name, old, new)
    present = policy.principals[name].key
    known = _signed_with(authority, policy, (present,))
    accepted = _accepted(args, known)
    status: Status = "revoked" if args.compromised else "retired"
    text = with_new_key(authority.office(args.keys).text(), name, new, status, accepted)
    return _Change(
        text, why, accepted,
        (
            f"{name} signs with {new.id} from now on; {present} is {status}.",
            f"Of what the old key signed, {len(accepted)} of {len(known)} admitted releases go on counting.",
            "A release signed with the old key from now on is refused, and one that runs and is not accepted stops.",
        ),
    )  # fmt: skip


def _passing(args: argparse.Namespace, authority: Authority, moment: datetime) -> _Change:
    from crl_server.plugins import registry
    from crl_server.trust.handovers import check_owner, with_new_owner
    from verifier.signatures.keys import PublicKey

    policy = authority.repository.trust().policy
    handover, why = _handover(args, policy, moment)
    if handover is None:
        plugin = given(PluginId, args.plugin, "the plugin's id")
        giver, taker = given(Name, args.giver, "the owner"), given(Name, args.taker, "the next owner")
        check_owner(policy, plugin, giver, taker, None)
    else:
        _check_kind(handover.plugin is not None, "trust rotate-principal")
        plugin, giver, taker = PluginId(handover.plugin or ""), handover.giver, handover.taker
        keys = handover.old, PublicKey.from_policy(handover.new).id
        check_owner(policy, plugin, giver, taker, keys)
    with authority.store.read() as ledger:
        of_plugin = {row.digest for row in registry.artifacts(ledger, plugin)}
    known = tuple(
        digest for digest in _signed_with(authority, policy, policy.principals[giver].keys) if digest in of_plugin
    )
    accepted = _accepted(args, known)
    text = with_new_owner(authority.office(args.keys).text(), plugin, giver, taker, accepted)
    return _Change(
        text, why, accepted,
        (
            f"{plugin} is owned by {taker} from now on: manifests of new releases name and are signed by {taker}.",
            f"Of what {giver} signed, {len(accepted)} of {len(known)} admitted releases go on counting.",
            f"A new release by {giver} is refused. Certifications of what is accepted go on.",
        ),
    )  # fmt: skip


def _handover(args: argparse.Namespace, policy: Policy, moment: datetime) -> tuple[Handover | None, str]:
    """The handover that was signed, verified under the policy in force, and what the audit log is told."""
    from verifier.formats.dsse import parse_envelope
    from verifier.formats.handover import MAX_HANDOVER
    from verifier.formats.revocations import sha256_hex
    from verifier.judging.handovers import agreed
    from verifier.signatures.keys import PublicKey

    if not args.file:
        return None, f"without consent: {_note(args.without_consent)}"

    def known(key: str) -> PublicKey | None:
        entry = next((entry for name, entry in policy.keys.items() if name == key), None)
        return None if entry is None else PublicKey.from_policy(entry)

    envelope = parse_envelope(read_capped(Path(args.file), 4 * MAX_HANDOVER, "the handover"), what="the handover")
    handover = agreed(envelope, known, moment)
    if handover.deployment != policy.deployment:
        raise Refused(
            "handover.stale", "the handover is for another deployment", found=handover.deployment,
            expected=policy.deployment,
        )  # fmt: skip
    return handover, f"handover sha256:{sha256_hex(envelope.unverified_payload)}"


def _note(text: str) -> str:
    if not 0 < len(text) <= MAX_NOTE or not text.isprintable():
        raise UsageError(
            "usage.arguments", "the note is not usable", expected=f"one line of at most {MAX_NOTE} characters"
        )
    return text


def _check_kind(right: bool, other: str) -> None:
    if not right:
        raise UsageError("usage.arguments", "this is the other kind of handover", todo=f"Run 'loadlock {other}'.")


def _signed_with(authority: Authority, policy: Policy, keys: Iterable[Digest | None]) -> tuple[Digest, ...]:
    from crl_server.plugins import registry
    from verifier.signatures.keys import PublicKey

    hints = [PublicKey.from_policy(policy.keys[key]).hint for key in keys if key is not None]
    with authority.store.read() as ledger:
        return tuple(sorted({digest for hint in hints for digest in registry.signed_with(ledger, hint)}))


def _accepted(args: argparse.Namespace, known: tuple[Digest, ...]) -> tuple[Digest, ...]:
    if args.accept_admitted:
        return known
    return tuple(sorted({given(Digest, text, "the digest") for text in args.accept or ()}))


def _difference(before: str, after: str) -> list[str]:
    from difflib import unified_diff

    lines = unified_diff(before.splitlines(), after.splitlines(), "policy.toml", "policy.toml, new", lineterm="", n=2)
    return [line if len(line) <= 200 else f"{line[:200]}…" for line in lines]


COMMANDS = (
    Command("trust rotate-principal", "give a principal another key in the policy", _configure_rotate, _rotate),
    Command("trust transfer", "give a plugin another owner in the policy", _configure_transfer, _transfer),
)
