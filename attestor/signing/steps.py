"""A step of a pipeline: run a command, and sign which files it found and which it left (an in-toto link)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from attestor.checking.leaks import LeakGate
from attestor.signing.layout import sign_payload
from attestor.signing.signers import KeySigner
from verifier.errors import Refused, UsageError
from verifier.files import read_capped
from verifier.formats.dsse import MAX_ENVELOPE
from verifier.formats.layout import MAX_ARTIFACTS, MAX_LINK, Link, StepName, link_name, parse_link
from verifier.formats.strict_json import dumps, loads
from verifier.judging.supply_chain import MAX_CHAIN, MAX_LINKS, RETURN_VALUE, join_chain

# What is never a material or a product: git's own bookkeeping, and the links themselves.
GIT, LINK = ".git", ".link"


@dataclass(frozen=True)
class StepOptions:
    """What is recorded of a step.

    Args:
        name: its name in the layout.
        command: the program and its arguments; they become public.
        materials: files and directories that it uses, relative to here.
        products: files and directories that it makes.
    """

    name: StepName
    command: Sequence[str]
    materials: Sequence[str] = ()
    products: Sequence[str] = ()


def run_step(options: StepOptions, signer: KeySigner, *, quiet: bool = False) -> tuple[Link, bytes]:
    """Run a step; give back its link, and the link signed.

    Args:
        options: see there.
        signer: who takes the step.
        quiet: what the command prints goes to standard error.

    Raises:
        UsageError: ``usage.arguments``: a path leads elsewhere or is not there, or the command cannot be started.
        Refused: ``step.failed``: it ended with another status than 0; ``leak.found``.
        FormatError: there is more to record than a link may hold.
    """
    for path in (*options.materials, *options.products):
        _check_path(path)
    materials = _record(options.materials, "materials")
    _run(options.command, quiet=quiet)
    value = {
        "_type": "link",
        "name": options.name,
        "command": list(options.command),
        "materials": materials,
        "products": _record(options.products, "products"),
        "byproducts": {RETURN_VALUE: 0},
        "environment": {},
    }
    payload = dumps(value)
    link = parse_link(payload)
    LeakGate().check(loads(payload, limit=MAX_LINK, what="the link"), what="the link")
    return link, sign_payload(payload, signer)


def read_chain(layout: Path, links: Path) -> bytes:
    """A signed layout and all links in a directory, as one document.

    Raises:
        UsageError: a file cannot be read; ``usage.arguments``: there are no links, or too many.
        FormatError: any ``format.*`` code.
    """
    found = sorted(links.glob(f"*{LINK}"))
    if not 1 <= len(found) <= MAX_LINKS:
        raise UsageError(
            "usage.arguments", "there must be links", found=f"{len(found)} files *.link in {str(links)!a}",
            expected=f"1 to {MAX_LINKS}",
        )  # fmt: skip
    return join_chain(
        read_capped(layout, MAX_CHAIN, "the layout"), [read_capped(path, MAX_ENVELOPE, "a link") for path in found]
    )


def file_of(link: Link, signer: KeySigner) -> str:
    """The name of the file that a link goes into."""
    return link_name(link.name, signer.public_key.id.hex)


def _check_path(path: str) -> None:
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise UsageError(
            "usage.arguments", "what is recorded lies below the working directory", found=ascii(path[:200]),
            expected="a relative path",
        )  # fmt: skip


def _record(paths: Sequence[str], kind: str) -> dict[str, dict[str, str]]:
    """Path to digest, of every file below ``paths``, named as in-toto names them: relative, with slashes."""
    found: dict[str, dict[str, str]] = {}
    for given in paths:
        if not Path(given).exists():
            raise UsageError("usage.arguments", f"one of the {kind} is not there", found=ascii(given[:200]))
        for path in _files(Path(given)):
            found[path.as_posix()] = {"sha256": _sha256(path)}
            if len(found) > MAX_ARTIFACTS:
                raise UsageError("usage.arguments", f"there are too many {kind}", expected=f"at most {MAX_ARTIFACTS}")
    return dict(sorted(found.items()))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():  # a pipe would keep us waiting, and a link to nothing is no file
        raise _unrecorded("what is neither a file nor a directory is not recorded", path)
    for name in sorted(os.listdir(path)):
        inner = path / name
        if inner.is_symlink() and inner.is_dir():
            raise _unrecorded("a link to a directory is not recorded", inner)
        if not _is_text(name):
            raise _unrecorded("a name that is not UTF-8 cannot be recorded", inner)
        if name != GIT and not name.endswith(LINK):
            yield from _files(inner)


def _is_text(name: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in name)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            "io.failed", "a file that is to be recorded cannot be read", found=f"{str(path)[:200]!a}: {error.strerror}"
        ) from error


def _unrecorded(what: str, path: Path) -> UsageError:
    return UsageError(
        "usage.arguments", what, found=ascii(str(path)[:200]), expected="files and directories",
        todo="Remove it before the step, or name the files themselves.",
    )  # fmt: skip


def _run(command: Sequence[str], *, quiet: bool) -> None:
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=sys.stderr if quiet else None, check=False
        )
    except OSError as error:
        raise UsageError(
            "usage.arguments", "the command cannot be started", found=f"{command[0]!a}: {error.strerror}"
        ) from error
    if done.returncode != 0:
        raise Refused("step.failed", "the step's command failed", found=f"status {done.returncode}", expected="0")
