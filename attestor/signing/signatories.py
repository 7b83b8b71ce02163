"""Whose signature a command makes, and whose it expects: keys or keyless identities, as its options say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from attestor.commands.places import public_keys, public_keys_if_any, signer_for
from attestor.signing.signers import Signer, service_deadline
from verifier.errors import UsageError
from verifier.files import read_capped
from verifier.formats.identity import MAX_IDENTITY
from verifier.judging.evidence import Role
from verifier.signatures.identities import KeylessSignatory, parse_identity
from verifier.signatures.signatory import Signatory

if TYPE_CHECKING:
    from attestor.signing.keyless import Services


def statement_signer(role: str, args: argparse.Namespace, deployment: Path | None, otherwise: str = "") -> Signer:
    """Who signs the statements of a command: keyless where it was asked for, else with a key.

    Args:
        role: in which role.
        args: the command's, with the options of :mod:`attestor.commands.key_options`.
        deployment: the deployment's directory, where its demo keys may be taken.
        otherwise: what else the command can do, for the advice.

    Raises:
        LoadlockError: as :func:`attestor.commands.places.signer_for` and
            :class:`attestor.signing.keyless.KeylessSigner`.
    """
    if not args.keyless:
        if args.identity_token or args.certificate_identity:
            raise UsageError("usage.arguments", "--identity-token and --certificate-identity belong to --keyless")
        return signer_for(role, args, deployment, otherwise)
    from attestor.signing.keyless import MAX_TOKEN, KeylessSigner, ambient_token

    if args.key or args.public_key:
        raise UsageError("usage.arguments", "signing is either keyless or with a key", found="--keyless and --key")
    deadline = service_deadline()

    def token() -> str:
        if not args.identity_token:
            return ambient_token(deadline)
        return (
            read_capped(Path(args.identity_token), MAX_TOKEN, "the identity token").decode("ascii", "replace").strip()
        )

    return KeylessSigner(services(args), token, deadline, args.certificate_identity or "")


def signatories(role: Role, args: argparse.Namespace, deployment: Path | None) -> list[Signatory]:
    """Whose signatures in a role are expected: the keys and identities given, else the demo deployment's.

    Raises:
        UsageError: ``usage.key``: nobody is known; what nobody vouches for is not signed under.
        FormatError: a file with an identity is malformed.
    """
    identities = _identities(role, args)
    keys = getattr(args, f"{role}_key")
    return [*identities, *(public_keys(role, keys, deployment) if keys or not identities else ())]


def signatories_if_any(role: Role, args: argparse.Namespace, deployment: Path | None) -> list[Signatory]:
    """As :func:`signatories`, of a role whose signature may still be missing: none when none is known."""
    return [*_identities(role, args), *public_keys_if_any(role, getattr(args, f"{role}_key"), deployment)]


def services(args: argparse.Namespace) -> Services:
    """The Sigstore: the configuration given, else the public one's, fetched anew.

    Raises:
        LoadlockError: as :class:`attestor.signing.keyless.Services`.
    """
    from attestor.signing.keyless import MAX_CONFIG, Services

    if args.trust_config:
        return Services.read(read_capped(Path(args.trust_config), MAX_CONFIG, "the client trust configuration"))
    return Services.public(service_deadline())


def _identities(role: Role, args: argparse.Namespace) -> list[Signatory]:
    files = getattr(args, f"{role}_identity") or []
    if not files:
        return []
    root = services(args).root
    named = [parse_identity(read_capped(Path(file), MAX_IDENTITY, f"the {role}'s identity")) for file in files]
    return [KeylessSignatory(entry.identity, root) for entry in named]
