"""The options by which every command that signs is told its key; light, so that printing help imports nothing more."""

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
