"""The passphrase of a key file and the PIN of a token: from the environment, a file or a person, never from the command
line, which everybody on the machine can read.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Final, Literal

from verifier.errors import UsageError
from verifier.signatures.private_keys import read_own

PASSPHRASE: Final = "LOADLOCK_KEY_PASSPHRASE"
"""The environment variable with the passphrase of an encrypted key file; with ``_FILE``: the file that holds it."""
PIN: Final = "LOADLOCK_KEY_PIN"
"""The environment variable with the PIN of a token; with ``_FILE``: the file that holds it."""

Variable = Literal["LOADLOCK_KEY_PASSPHRASE", "LOADLOCK_KEY_PIN"]


def given(variable: Variable) -> str | None:
    """The secret in a variable, or in the file that the variable with ``_FILE`` names; None when there is neither.

    Raises:
        UsageError: ``usage.configuration`` when there are both; ``usage.key`` when the file cannot be read, is empty,
            or can be read by others.
    """
    direct, file = os.environ.get(variable), os.environ.get(f"{variable}_FILE")
    if direct and file:
        raise UsageError("usage.configuration", f"{variable} and {variable}_FILE are both set", expected="one of them")
    if not file:
        return direct or None
    try:
        secret = read_own(Path(file), "the secret").decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        secret = ""
    if not secret or not secret.isprintable():
        raise UsageError("usage.key", f"{variable}_FILE names a file without a secret", expected="one line of text")
    return secret


def asked(variable: Variable, question: str) -> str:
    """The secret as :func:`given`, else asked for where a person sits at a terminal.

    Args:
        variable: where it may be.
        question: what the person is asked, without a colon.

    Raises:
        UsageError: as :func:`given`; ``usage.key`` when there is nobody to ask, or no answer.
    """
    secret = given(variable)
    if secret is None and sys.stdin.isatty() and sys.stderr.isatty():
        secret = getpass.getpass(f"{question}: ", stream=sys.stderr)
    if not secret:
        raise UsageError(
            "usage.key", f"not known: {question}",
            expected=f"it in {variable}, or in a file that {variable}_FILE names",
            todo="Give it there, or run the command at a terminal. It has no place on the command line.",
        )  # fmt: skip
    return secret
