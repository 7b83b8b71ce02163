"""What the service's commands share: opening the deployment, who acts, and the time."""

from __future__ import annotations

import argparse
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from verifier.deployment.place import find_deployment
from verifier.errors import Refused, UsageError

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
MAX_PAGES = 1_000
"""How many pages of a list are asked for."""

Place = TypeVar("Place", str, int)


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


def pages(ask: Callable[[Place], Mapping[str, Any]], name: str, begin: Place) -> Iterator[dict[str, Any]]:
    """All rows of a list that is told in pages.

    Args:
        ask: tells the page that begins after a place.
        name: what the rows are called in it.
        begin: the place before the first.

    Raises:
        Refused: ``server.refused`` for what is no list, or does not end; and whatever ``ask`` raises.
    """
    after = begin
    for _ in range(MAX_PAGES):
        found = ask(after)
        rows = found.get(name)
        if not isinstance(rows, list | tuple):
            raise Refused("server.refused", "the server's answer is not a list", expected=name)
        yield from rows
        following = found.get("next")
        if not isinstance(following, type(begin)):
            return
        after = following
    raise Refused("server.refused", "the server's list does not end", found=f"{MAX_PAGES} pages")


def now() -> datetime:
    """The machine's clock; each command asks it once."""
    return datetime.now(UTC)


def local_actor() -> str:
    """Who runs the command, as the audit log names them: as the system knows them, whatever the environment says."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a user id without a name, as containers have
        name = f"uid-{number}"
    return "local:" + "".join(letter if letter.isprintable() else "?" for letter in name[:100])
