"""``trust keys``, ``trust rotate``, ``trust sign`` and ``trust publish``: other keys for the deployment's own roles."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from crl_server.commands.common import local_actor, needing_the_extra, now, opened
from crl_server.commands.trust import public_key_of
from verifier.command import Command, Output, given
from verifier.formats.text import Digest, Time

KINDS = ("root", "targets", "checkpoints", "online", "head", "enrolment")
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


def _configure_keys(_: argparse.ArgumentParser) -> None:
    """Nothing to ask."""


def _keys(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        from crl_server.trust.rotations import key_ids

        trust, roles = authority.repository.trust(), authority.repository.roles()
        head = authority.publisher.head_key()
        first = authority.first_root()
    found = [
        (name, key_ids(delegator, role), delegator.get_delegated_role(role).threshold, trust.roles[shown].expires)
        for name, delegator, role, shown in (
            ("root", roles.root, "root", "root"),
            ("targets", roles.root, "targets", "targets"),
            ("checkpoints", roles.targets, "checkpoints", "checkpoints"),
            ("online", roles.root, "timestamp", "timestamp"),
        )
    ]
    found += [("head", {key.key: ""}, 1, key.not_after.instant) for key in trust.policy.head_keys]
    output.say(f"first root {first}; root {trust.root_version}, policy {trust.policy.version} in force")
    for name, keys, threshold, ends in found:
        output.say(f"{name:<12} {threshold} of {len(keys)}, until {Time.of(ends)}")
        for key in keys:
            output.say(f"  {key}{' (signs now)' if key == head and name == 'head' else ''}")
    rows = [
        {"role": name, "keys": sorted(keys), "threshold": threshold, "expires": Time.of(ends)}
        for name, keys, threshold, ends in found
    ]
    output.result({"ok": True, "first_root": first, "root": trust.root_version, "roles": rows})


def _configure_rotate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS, help="; ".join((
        "what gets other keys, or a new end", "enrolment: the bundle for new hosts is signed over the root of today",
    )))  # fmt: skip
    parser.add_argument("directory", metavar="DIR", type=Path, help="where it is laid out; it must not exist")
    parser.add_argument(
        "--new", metavar="PEM", type=Path, action="append", default=[], help="a new public key; none to renew only"
    )
    parser.add_argument(
        "--old", metavar="KEY", action="append", default=[],
        help="the key it takes the place of: its id or its public key; may be left out when all are replaced",
    )  # fmt: skip
    parser.add_argument(
        "--add", metavar="PEM", type=Path, action="append", default=[],
        help="root: a new public key beside those there are",
    )  # fmt: skip
    parser.add_argument(
        "--threshold", metavar="N", type=int, default=0, help="root: how many keys have to sign; never fewer than now"
    )
    parser.add_argument(
        "--above", metavar="N", type=int, default=0, help="targets: a version to exceed, that hosts took from a thief"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be laid out, and write nothing")


def _rotate(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        from crl_server.trust.rotations import Wanted

        new, added = ([public_key_of(path) for path in paths] for paths in (args.new, args.add))
        wanted = Wanted(new, [_key_id(word) for word in args.old], args.above, added, args.threshold)
        done = authority.rotations.prepare(
            args.kind, wanted, args.directory, local_actor(), now(), dry_run=args.dry_run
        )  # fmt: skip
        first = authority.first_root()
    _show(done.words, done.missing, output)
    if args.dry_run:
        output.say("Nothing was laid out.")
    else:
        output.say(f"Take {args.directory} to whoever holds the keys named:")
        output.say(f"  loadlock trust sign {args.directory} --root {first} --key FILE")
        output.say(f"and then put it in force: loadlock trust publish {args.directory}")
    output.result(
        {
            "ok": True,
            "directory": None if args.dry_run else str(args.directory),
            "kind": done.kind,
            "changes": done.words,
            "missing": done.missing,
        }
    )


def _configure_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="the rotation, as it was laid out")
    parser.add_argument("--key", metavar="FILE", type=Path, help="an offline key; without it nothing is signed")
    parser.add_argument("--root", metavar="FINGERPRINT", required=True, help="of the deployment's first root")


def _sign(args: argparse.Namespace, output: Output) -> None:
    with needing_the_extra():
        from crl_server.trust.rotation_dossier import RotationDossier
        from crl_server.trust.rotation_review import review, sign
        from crl_server.trust.signing import SigningKey
    dossier = RotationDossier(args.directory)
    root, moment = given(Digest, args.root, "the root's fingerprint"), now()
    found = review(dossier, root, moment)
    output.say(f"rotation of {found.kind!r} in {found.deployment!s}")
    signed: tuple[str, ...] = ()
    if args.key is not None:
        signed = sign(dossier, SigningKey.read_offline(args.key))
        found = review(dossier, root, moment)
    _show(found.words, found.missing, output)
    if args.key is None:
        output.say("Everything checks out. Nothing was signed: name your key with --key FILE.")
    else:
        output.say(f"signed: {', '.join(signed)}")
    if found.complete:
        output.say(f"Nobody else has to sign: loadlock trust publish {args.directory}")
    output.result(
        {
            "ok": True,
            "kind": found.kind,
            "changes": found.words,
            "signed": signed,
            "missing": found.missing,
            "complete": found.complete,
        }
    )


def _configure_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="the rotation, with its signatures")
    parser.add_argument("--dry-run", action="store_true", help="verify it as a host would, and change nothing")


def _publish(args: argparse.Namespace, output: Output) -> None:
    with opened(args) as authority:
        from crl_server.trust.rotation_dossier import RotationDossier

        found = authority.publish_rotation(
            RotationDossier(args.directory), local_actor(), now(), dry_run=args.dry_run
        )  # fmt: skip
        trust = authority.repository.trust()
    _show(found.words, {}, output)
    output.say("It verifies; nothing was changed." if args.dry_run else f"root {trust.root_version} is in force")
    if found.kind == "root" and not args.dry_run:
        output.say(
            "New hosts enrol with the root of before and follow; to change that: loadlock trust rotate enrolment"
        )
    output.result(
        {
            "ok": True,
            "kind": found.kind,
            "changes": found.words,
            "published": not args.dry_run,
            "root": trust.root_version,
            "policy": trust.policy.version,
        }
    )


def _show(words: tuple[str, ...], missing: Mapping[str, tuple[str, ...]], output: Output) -> None:
    for line in words:
        output.say(line)
    for name, lines in missing.items():
        for line in lines:
            output.say(f"{name} still needs {line}")


def _key_id(word: str) -> Digest:
    return Digest(word) if _FINGERPRINT.fullmatch(word) else public_key_of(Path(word)).id


COMMANDS = (
    Command("trust keys", "show who signs what, and until when", _configure_keys, _keys),
    Command("trust rotate", "lay out other keys or a new end for a role of trust", _configure_rotate, _rotate),
    Command("trust sign", "verify a rotation from the first root, and sign it", _configure_sign, _sign),
    Command("trust publish", "put a rotation in force that all have signed", _configure_publish, _publish),
)
