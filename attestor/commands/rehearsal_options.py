"""The options of commands that can be rehearsed: ``--dry-run``, and the policy to be held against."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier.command import Output
from verifier.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from attestor.signing.rehearsal import Case, Outlook
    from verifier.judging.verify import Ground


def add_rehearsal(parser: argparse.ArgumentParser, *, policy: bool = True) -> None:
    """Declare ``--dry-run`` and, unless the command has a ``--policy`` of its own, that one."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; sign, write and send nothing")
    if policy:
        parser.add_argument(
            "--policy", metavar="DIR",
            help="an enrolled host's directory: be held against its policy first (a dry run: the deployment's)",
        )  # fmt: skip


def rehearse(
    args: argparse.Namespace,
    deployment: Path | None,
    wheel: tuple[str, bytes],
    output: Output,
    now: datetime,
    play: Callable[[Case], list[Outlook]],
) -> dict[str, Any] | None:
    """Hold what would be done against a policy, where there is one.

    Args:
        args: the command's, with the options of :func:`add_rehearsal`.
        deployment: the deployment's directory, if any.
        wheel: the wheel's file name and bytes.
        output: is told of it.
        now: the moment (aware, UTC).
        play: rehearses.

    Returns:
        The policy's version and what it would say at each tier, for JSON; None where there is no policy.

    Raises:
        Refused: the policy would refuse it.
    """
    directory = _directory(args, deployment)
    if directory is None:
        if args.dry_run:
            output.progress.done("policy", "none to be held against: name an enrolled host's directory by --policy")
        return None
    from attestor.signing.rehearsal import Case

    with output.progress.step("policy") as step:
        ground = _ground(directory, now)
        outlooks = play(Case(ground, wheel[1], wheel[0], now))
        step.says("\n  ".join([f"version {ground.trust.policy.version}", *map(str, outlooks)]))
    return {
        "version": ground.trust.policy.version,
        "tiers": {
            str(outlook.tier): None if outlook.refusal is None else outlook.refusal.document() for outlook in outlooks
        },
    }


def finish(output: Output, would: str, policy: dict[str, Any] | None, **fields: Any) -> None:
    """End a dry run: say what would be done."""
    output.say(f"dry run: {would}")
    output.result({"ok": True, "dry_run": True, "would": would, "policy": policy, **fields})


def _directory(args: argparse.Namespace, deployment: Path | None) -> Path | None:
    given = Path(args.policy) if args.policy else None
    if given is not None and (given / "host.json").is_file():
        return given
    if given is not None and not given.is_file():  # certify takes the policy's own file too, to name it by digest
        raise UsageError(
            "usage.arguments", "no policy is there", found=repr(args.policy),
            expected="the directory of an enrolled host",
            todo="Enrol this machine ('loadlock host enroll'), and name that directory.",
        )  # fmt: skip
    enrolled = deployment is not None and (deployment / "host.json").is_file()
    return deployment if args.dry_run and enrolled and given is None else None


def _ground(directory: Path, now: datetime) -> Ground:
    from verifier.deployment.ground import open_ground
    from verifier.deployment.home import Home

    return open_ground(Home(directory), now)
