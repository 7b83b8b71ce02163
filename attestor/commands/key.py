"""The commands about signing keys: make one in a file, fetch the public half of one in a token or service."""

from __future__ import annotations

import argparse
from pathlib import Path

from verifier.command import Command, Output


def _configure_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the private key; the public one goes beside it as FILE.pub")
    parser.add_argument("--alg", choices=("ecdsa-p256", "ed25519"), default="ecdsa-p256", help="the algorithm")


def _new(args: argparse.Namespace, output: Output) -> None:
    from attestor.signing.signers import new_key
    from verifier.signatures.key_secrets import PASSPHRASE, given

    made = new_key(Path(args.file), args.alg, given(PASSPHRASE))
    output.say(f"private key {args.file}, public key {args.file}.pub")
    output.say(f"key id {made.public_key.id}")
    output.result({"ok": True, "private": args.file, "public": f"{args.file}.pub", "id": made.public_key.id})


def _configure_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="URI", help="where the key is, as '--key' takes it")
    parser.add_argument("file", metavar="FILE", help="where the public key goes")


def _fetch(args: argparse.Namespace, output: Output) -> None:
    from attestor.signing.signers import keep_public_key, service_deadline
    from verifier.signatures.signing_services import fetch_public_key

    key = fetch_public_key(args.uri, service_deadline())
    keep_public_key(key, Path(args.file))
    output.say(f"public key {args.file}")
    output.say(f"key id {key.id}: compare it with what the key's keeper says")
    output.result({"ok": True, "public": args.file, "id": key.id, "algorithm": key.alg})


KEY_COMMANDS: tuple[Command, ...] = (
    Command("key new", "make a signing key", _configure_new, _new),
    Command("key fetch", "fetch the public half of a key in a token or service", _configure_fetch, _fetch),
)
