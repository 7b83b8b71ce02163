"""``key rotate``, ``handover offer`` and ``handover accept``: what those sign whose key or plugin changes hands."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attestor.commands.key_options import add_key
from verifier.command import Command, Output, given

if TYPE_CHECKING:
    from verifier.formats.dsse import Envelope
    from verifier.formats.handover import Handover
    from verifier.formats.text import Name


def _configure_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deployment-id", metavar="NAME", help="the deployment's id (else the one that is here)")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where the handover goes")


def _configure_rotate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the principal, as the policy names it")
    add_key(parser, "principal's present")
    parser.add_argument("--new-key", metavar="FILE|URI", required=True, help="the private key that follows")
    parser.add_argument("--new-public-key", metavar="FILE", help="its public half, for one in a token or service")
    _configure_place(parser)


def _rotate(args: argparse.Namespace, output: Output) -> None:
    from attestor.commands.places import signer_for
    from attestor.signing.handover import accept, offer
    from attestor.signing.signers import open_signer
    from verifier.formats.handover import LONGEST
    from verifier.formats.text import Name

    name = given(Name, args.name, "the name")
    old = signer_for("principal", args, None)
    new = open_signer(args.new_key, Path(args.new_public_key) if args.new_public_key else None)
    made = offer(_deployment_id(args), name, name, None, old.message_signer, new.public_key, datetime.now(UTC), LONGEST)
    both, handover = accept(made, old.public_key, new.message_signer)
    _write(args, output, both, handover, "Hand it to whoever signs the policy: loadlock trust rotate-principal")


def _configure_offer(parser: argparse.ArgumentParser) -> None:
    from verifier.formats.text import PluginId

    parser.add_argument("plugin", metavar="ID", help=f"the plugin: {PluginId.words}")
    parser.add_argument("--from", dest="giver", metavar="NAME", required=True, help="its owner, as the policy names it")
    parser.add_argument("--to", dest="taker", metavar="NAME", required=True, help="its next owner")
    add_key(parser, "present owner")
    parser.add_argument("--new-public-key", metavar="FILE", required=True, help="the next owner's public key")
    _configure_place(parser)


def _offer(args: argparse.Namespace, output: Output) -> None:
    from attestor.commands.places import public_keys, signer_for
    from attestor.signing.handover import offer
    from verifier.formats.handover import LONGEST, parse_handover
    from verifier.formats.text import Name, PluginId

    plugin = given(PluginId, args.plugin, "the plugin's id")
    giver, taker = given(Name, args.giver, "the owner"), given(Name, args.taker, "the next owner")
    old = signer_for("owner", args, None)
    (new,) = public_keys("owner", [args.new_public_key], None)
    made = offer(_deployment_id(args), giver, taker, plugin, old.message_signer, new, datetime.now(UTC), LONGEST)
    handover = parse_handover(made.unverified_payload)
    _write(args, output, made, handover, "The next owner signs it: loadlock handover accept")


def _configure_accept(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the handover that was offered")
    add_key(parser, "next owner")
    parser.add_argument("--owner-key", metavar="FILE", required=True, help="the present owner's public key")


def _accept(args: argparse.Namespace, output: Output) -> None:
    from attestor.commands.places import public_keys, signer_for
    from attestor.signing.handover import accept
    from verifier.files import read_capped
    from verifier.formats.dsse import parse_envelope
    from verifier.formats.handover import MAX_HANDOVER

    args.output = args.file
    envelope = parse_envelope(read_capped(Path(args.file), 4 * MAX_HANDOVER, "the handover"), what="the handover")
    (giver,) = public_keys("owner", [args.owner_key], None)
    both, handover = accept(envelope, giver, signer_for("owner", args, None).message_signer)
    _write(args, output, both, handover, "Hand it to whoever signs the policy: loadlock trust transfer")


def _deployment_id(args: argparse.Namespace) -> Name:
    from attestor.commands.places import deployment_id
    from verifier.formats.text import Name

    return given(Name, args.deployment_id or deployment_id(args.deployment), "the deployment's id")


def _write(args: argparse.Namespace, output: Output, envelope: Envelope, handover: Handover, then: str) -> None:
    from verifier.files import write_atomic
    from verifier.formats.dsse import dump_envelope

    write_atomic(Path(args.output), dump_envelope(envelope))
    what = f"plugin {handover.plugin}" if handover.plugin else "the signing key"
    output.say(f"{what}: {handover.giver} → {handover.taker}, in deployment {handover.deployment}")
    output.say(f"from {handover.old}, until {handover.expires}")
    output.say(f"written to {args.output}. {then} {args.output}")
    signed = [signature.keyid for signature in envelope.signatures]
    output.result({"ok": True, "file": args.output, "expires": handover.expires, "signed_by": signed})


HANDOVER_COMMANDS: tuple[Command, ...] = (
    Command("key rotate", "ask for a new key in the place of an old one", _configure_rotate, _rotate),
    Command("handover offer", "offer a plugin to another owner", _configure_offer, _offer),
    Command("handover accept", "take a plugin that was offered", _configure_accept, _accept),
)
