"""``host sync``: current trust and list, and what verification needs of wheels and of what is installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier.command import Command, Output
from verifier.deployment.place import find_deployment

if TYPE_CHECKING:
    from verifier.deployment.home import Home
    from verifier.formats.policy import Policy
    from verifier.installed.sync import Fetched
    from verifier.refreshing.source import Source


def configure_copy(parser: argparse.ArgumentParser) -> None:
    """Declare ``--from``."""
    parser.add_argument(
        "--from", dest="copy", metavar="COPY", type=Path,
        help="a copy that was carried here, instead of the server: a directory of 'loadlock export --to', or a file of"
        " 'loadlock trust export'",
    )  # fmt: skip


@contextmanager
def source_of(copy: Path | None) -> Iterator[Source | None]:
    """The copy that is to be read, or None for the host's server."""
    if copy is None:
        yield None
    else:
        from verifier.refreshing.carried import copy_at

        with copy_at(copy) as source:
            yield source


def _configure(parser: argparse.ArgumentParser) -> None:
    _configure_wheels(parser)
    configure_copy(parser)


def _configure_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("copy", metavar="COPY", type=Path, help="a file of 'loadlock trust export', or a directory")
    _configure_wheels(parser)


def _configure_wheels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wheels", nargs="*", metavar="WHEEL", type=Path, help="wheels whose attestation sets to fetch")
    parser.add_argument(
        "--site",
        action="append",
        metavar="DIR",
        help="look for installed plugins there (default: in the environment that loadlock runs in); may be repeated",
    )


def _sync(args: argparse.Namespace, output: Output) -> None:
    with source_of(args.copy) as source:
        sync(find_deployment(args.deployment), output, wheels=args.wheels, site=args.site, source=source)


def sync(
    directory: Path,
    output: Output,
    *,
    wheels: Sequence[Path] = (),
    site: Sequence[str] | None = None,
    source: Source | None = None,
) -> None:
    """Refresh a host's directory, and say what is in force.

    Args:
        directory: the host's.
        output: what the command says.
        wheels: those whose attestation sets to fetch as well.
        site: the site directories in which plugins are installed; those of this process if None.
        source: a carried copy, to be read instead of asking the server.

    Raises:
        Refused, Unreachable: as :func:`verifier.refreshing.refresh.refresh` and
            :func:`verifier.refreshing.sets.fetch_set`.
    """
    from verifier.clock import utc_now
    from verifier.deployment.ground import open_ground
    from verifier.deployment.home import Home
    from verifier.refreshing.refresh import refresh

    home = Home(directory)
    with output.progress.step("trust and list"):
        refresh(home, utc_now(), source)
    ground = open_ground(home, utc_now())
    head, policy = ground.revocations.head, ground.trust.policy
    fetched = [_fetch(home, wheel, source, output) for wheel in wheels]
    output.say(f"Policy {policy.version}, valid until {policy.valid_until}.")
    output.say(f"Revocation list seq {head.seq}, {ground.revocations.count} entries, fresh until {head.expires}.")
    if fetched:
        output.say(f"Attestation sets fetched: {len(fetched)}.")
    installed = _fetch_installed(home, policy, sys.path if site is None else site, source, output)
    output.result(
        {
            "ok": True,
            "deployment": home.host.deployment,
            "root": home.host.root,
            "policy": policy.version,
            "epoch": head.epoch,
            "seq": head.seq,
            "entries": ground.revocations.count,
            "sets": len(fetched),
            "installed": [_document(one) for one in installed],
        }
    )


def _fetch(home: Home, wheel: Path, source: Source | None, output: Output) -> Path:
    """Fetch the attestation set of one wheel."""
    from verifier.refreshing.sets import fetch_set

    with output.progress.step("attestation set") as step:
        step.says(wheel.name)
        return fetch_set(home, _digest_of(wheel), source)


def _digest_of(wheel: Path) -> str:
    from verifier.wheels.wheel_file import WheelFile

    return WheelFile(wheel).digest.removeprefix("sha256:")


def _fetch_installed(
    home: Home, policy: Policy, site: Sequence[str], source: Source | None, output: Output
) -> list[Fetched]:
    """Fetch what verification needs of installed plugins, and name those for which the server has nothing."""
    from verifier.installed.installations import all_installations
    from verifier.installed.sync import fetch_for, of_the_policy

    known = of_the_policy(all_installations(site), policy)
    if not known:
        return []
    with output.progress.step("installed plugins") as step:
        fetched = fetch_for(home, known, source)
        step.says(f"{sum(one.outcome == 'fetched' for one in fetched)} of {len(fetched)}")
    for one in fetched:
        named = f"{one.installation.name} {one.installation.version}"
        output.say(f"Installed: {named}: {one.outcome}{f', {one.reason}' if one.reason else ''}.")
    return fetched


def _document(one: Fetched) -> dict[str, Any]:
    name, version = one.installation.name, one.installation.version
    return {"name": name, "version": version, "outcome": one.outcome, "wheels": one.wheels, "reason": one.reason}


COMMANDS = (
    Command("host sync", "fetch current trust, revocation list and attestation sets", _configure, _sync),
    Command("trust import", "take trust and lists from a copy that was carried here", _configure_import, _sync),
)
