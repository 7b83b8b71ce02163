"""The secrets that webhooks are signed with, and the signature itself (Standard Webhooks 1.0, symmetric).

A file of mode 0600 with a secret a line: the one in use first, and while it is changed the one before it; a request
carries a signature by each.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from verifier.errors import UsageError
from verifier.files import read_capped

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""How many bytes a secret has."""
MADE = 32
"""How many bytes a secret has that is made here."""
MAX_SECRETS = 2
MAX_FILE = 4096
"""Size cap of the file in bytes."""


def new_secret() -> str:
    """A secret as it stands in a file and is given to the receiver."""
    return PREFIX + base64.b64encode(secrets.token_bytes(MADE)).decode()


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """The secrets of a file.

    Raises:
        UsageError: ``usage.configuration`` when others may read it or it holds anything else; ``io.failed``.
    """
    data = read_capped(path, MAX_FILE, "webhook's secret")
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        raise _unusable(path, "others may read it", "mode 0600")
    lines = data.decode("ascii", "replace").split()
    if not 1 <= len(lines) <= MAX_SECRETS:
        raise _unusable(path, f"{len(lines)} secrets", f"1 to {MAX_SECRETS}, one a line")
    return tuple(_decoded(line, path) for line in lines)


def sign(keys: tuple[bytes, ...], identity: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: a signature with each secret."""
    signed = f"{identity}.{timestamp}.".encode() + body
    macs = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def _decoded(line: str, path: Path) -> bytes:
    try:
        key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not line.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise _unusable(path, "something that is no secret", f"{PREFIX} and {SHORTEST} to {LONGEST} bytes in base64")
    return key


def _unusable(path: Path, found: str, expected: str) -> UsageError:
    return UsageError(
        "usage.configuration", f"the webhook's secret in {path.name!r} cannot be used", found=found, expected=expected
    )
