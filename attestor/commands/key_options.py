"""The options by which every command that signs is told its key or identity; light: printing help imports no more."""

from __future__ import annotations

import argparse

KEY = "LOADLOCK_KEY"
PUBLIC_KEY = "LOADLOCK_PUBLIC_KEY"


def add_key(
    parser: argparse.ArgumentParser, role: str, *, among: argparse._MutuallyExclusiveGroup | None = None
) -> None:
    """Declare ``--key`` and ``--public-key``.

    Args:
        parser: the command's parser.
        role: who signs.
        among: a group of the parser of which one option may be given.
    """
    (among or parser).add_argument(
        "--key", metavar="FILE|URI",
        help=f"the {role}'s private key: a file, or where it is in a token or service (else ${KEY})",
    )  # fmt: skip
    parser.add_argument(
        "--public-key", metavar="FILE", help=f"its public half, for a key in a token or service (else ${PUBLIC_KEY})"
    )


def add_keyless(parser: argparse.ArgumentParser) -> None:
    """Declare the options of signing without a key, and of the Sigstore that vouches for identities."""
    parser.add_argument("--keyless", action="store_true", help="sign with an identity instead of a key")
    parser.add_argument("--identity-token", metavar="FILE", help="a file with the token (else the pipeline's own)")
    parser.add_argument("--certificate-identity", metavar="NAME", help="what certificates will name, if not the token")
    parser.add_argument("--trust-config", metavar="FILE", help="a private Sigstore's client trust configuration")


def add_identities(parser: argparse.ArgumentParser, *roles: str) -> None:
    """Declare ``--ROLE-identity`` for those who may have signed keyless."""
    for role in roles:
        parser.add_argument(
            f"--{role}-identity", metavar="FILE", action="append", help=f"the keyless identity of an accepted {role}"
        )
