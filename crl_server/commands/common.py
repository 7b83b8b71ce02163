"""What the service's commands share: opening the deployment, who acts, and the time."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from verifier.deployment.place import find_deployment
from verifier.errors import UsageError

if TYPE_CHECKING:
    from crl_server.service import Authority

EXTRA = frozenset(
    {
        "alembic",
        "fastapi",
        "httptools",
        "jwt",
        "multipart",
        "pydantic",
        "sqlalchemy",
        "sqlmodel",
        "starlette",
        "tomlkit",
        "uvicorn",
    }
)
"""What the extra ``server`` brings."""


@contextmanager
def needing_the_extra() -> Iterator[None]:
    """Say in words that the extra is missing.

    Raises:
        UsageError: ``usage.extra``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise UsageError(
            "usage.extra", "the server's part of Loadlock is not installed", found=f"no {error.name}",
            expected="loadlock[server]",
        ) from error  # fmt: skip


@contextmanager
def opened(args: argparse.Namespace, *, recovering: bool = False) -> Iterator[Authority]:
    """The deployment that the arguments name; ``recovering`` as :class:`crl_server.service.Authority` takes it.

    Raises:
        UsageError: ``usage.deployment``, ``usage.extra``, ``usage.configuration``.
        Unreachable: ``io.failed``.
    """
    directory = find_deployment(args.deployment)
    with needing_the_extra():
        from crl_server.service import Authority
    authority = Authority(directory, recovering=recovering)
    try:
        yield authority
    finally:
        authority.close()


def now() -> datetime:
    """The machine's clock; each command asks it once."""
    return datetime.now(UTC)


def local_actor() -> str:
    """Who runs the command, as the audit log names them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        name = "unknown"
    return "local:" + "".join(letter if letter.isprintable() else "?" for letter in name[:100])
