"""The commands around in-toto layouts: the owner signs one, and each step of the pipeline leaves a link."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attestor.commands.key_options import add_key
from verifier.command import Command, Output
from verifier.errors import UsageError

if TYPE_CHECKING:
    from attestor.commands.places import WheelFiles
    from verifier.judging.supply_chain import Fulfilled
    from verifier.signatures.keys import PublicKey


def configure_chain(parser: argparse.ArgumentParser) -> None:
    """The options of commands that judge a layout and its links."""
    parser.add_argument("--layout", metavar="FILE", help="the plugin's in-toto layout, as its owner signed it")
    parser.add_argument("--links", metavar="DIR", help="where its steps left their links")


def chain_of(
    args: argparse.Namespace, files: WheelFiles, wheel: bytes, owners: Sequence[PublicKey], now: datetime
) -> tuple[bytes, Fulfilled | None]:
    """The layout and links that were named, as one document, and that they were fulfilled; nothing when none were.

    Raises:
        UsageError: ``usage.arguments``: one of the two options alone.
        Refused: as :func:`verifier.judging.supply_chain.verify_chain`.
    """
    from attestor.signing.steps import read_chain
    from verifier.formats.text import Digest
    from verifier.judging.supply_chain import Expected, verify_chain

    if bool(args.layout) != bool(args.links):
        raise UsageError("usage.arguments", "--layout and --links go together")
    if not args.layout:
        return b"", None
    chain = read_chain(Path(args.layout), Path(args.links))
    digest = Digest(f"sha256:{hashlib.sha256(wheel).hexdigest()}")
    return chain, verify_chain(chain, Expected(owners), files.wheel.name, digest, now)


# -- layout sign -------------------------------------------------------------------------------------------------------


def _configure_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the layout as TOML")
    add_key(parser, "owner")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where the signed layout goes")


def _sign(args: argparse.Namespace, output: Output) -> None:
    from attestor.commands.places import deployment_if_any, signer_for
    from attestor.signing.layout import read_layout, sign_payload
    from verifier.files import write_atomic
    from verifier.formats.layout import parse_layout

    owner = signer_for("owner", args, deployment_if_any(args.deployment))
    payload = read_layout(Path(args.file))
    layout = parse_layout(payload)
    if layout.expires.instant <= datetime.now(UTC):
        raise UsageError("usage.arguments", "the layout would have expired already", found=str(layout.expires))
    write_atomic(Path(args.output), sign_payload(payload, owner))
    digest = f"sha256:{hashlib.sha256(payload).hexdigest()}"
    for step in layout.steps:
        output.say(f"{step.name:<20}by {step.threshold} of {len(step.pubkeys)}")
    output.say(f"signed by {owner.public_key.id}, until {layout.expires}")
    output.say(f'for the policy: layout = {{ payload = "{digest}", owner = "…" }}')
    output.result({"ok": True, "layout": args.output, "payload": digest, "signer": owner.public_key.id})


# -- step run ----------------------------------------------------------------------------------------------------------


def _configure_step(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the step's name in the layout")
    add_key(parser, "step's taker")
    for kind, what in (("materials", "it uses"), ("products", "it makes")):
        parser.add_argument(
            f"--{kind}", metavar="PATH", action="append", default=[], help=f"a file or directory {what}"
        )
    parser.add_argument("--links", metavar="DIR", default=".", help="where the link goes (default: here)")
    parser.add_argument("command", metavar="COMMAND", nargs="+", help="after --, the program and its arguments")


def _step(args: argparse.Namespace, output: Output) -> None:
    from attestor.commands.places import deployment_if_any, signer_for
    from attestor.signing.steps import StepOptions, file_of, run_step
    from verifier.files import write_atomic
    from verifier.formats.layout import StepName

    try:
        name = StepName(args.name)
    except ValueError as error:
        raise UsageError("usage.arguments", "not the name of a step", found=str(error)) from error
    signer = signer_for("builder", args, deployment_if_any(args.deployment))
    options = StepOptions(name, args.command, args.materials, args.products)
    link, signed = run_step(options, signer, quiet=output.json)
    written = Path(args.links) / file_of(link, signer)
    write_atomic(written, signed)
    output.say(f"step {name}: {len(link.materials)} materials, {len(link.products)} products, link {written}")
    output.result({"ok": True, "link": str(written), "signer": signer.public_key.id, "step": name})


LAYOUT_COMMANDS: tuple[Command, ...] = (
    Command("layout sign", "sign how a plugin is to be made, as its owner", _configure_sign, _sign),
    Command("step run", "run a step of a layout, sign what it used and made", _configure_step, _step),
)
