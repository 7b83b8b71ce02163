"""Runs git in somebody's clone, whatever that clone and this machine are configured to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attestor.building import processes
from verifier.errors import Refused, UsageError

#: How long one git command may take, in seconds.
GIT_SECONDS = 120.0
#: Settings of the machine that would run programs or change what is exported.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false",
        "-c", "core.eol=lf", "-c", "core.attributesFile=/dev/null", "-c", "tar.umask=0022",
        "-c", "core.quotePath=false", "-c", "log.showSignature=false",
        "-c", "i18n.logOutputEncoding=utf-8")  # fmt: skip


def git(directory: Path, *arguments: str) -> str:
    """What git says, as text without the last line's end; raises as :func:`run_git`."""
    return run_git(directory, *arguments).decode("utf-8", "replace").rstrip("\n")


def git_or_nothing(directory: Path, *arguments: str) -> str:
    """What git says; nothing when it fails, git's way to say that there is no such value."""
    done = _start_git(directory, arguments)
    return done.stdout.decode("utf-8", "replace").strip() if done.status == 0 else ""


def run_git(
    directory: Path, *arguments: str, settings: Mapping[str, str] | None = None, fine: tuple[int, ...] = (0,)
) -> bytes:
    """What git says.

    Args:
        directory: where it runs.
        arguments: its command and arguments.
        settings: configuration for this command alone, name to value.
        fine: the exit statuses that say that it has done its work.

    Raises:
        Refused: ``source.unusable``: it fails, or says too much.
        UsageError: ``usage.configuration``: it is not installed.
    """
    done = _start_git(directory, arguments, settings)
    if done.status not in fine:
        raise unusable(done.stderr.decode("utf-8", "replace").strip()[:500])
    if len(done.stdout) >= processes.MAX_OUTPUT_BYTES:
        raise Refused(
            "source.unusable", f"git {arguments[0]} says more of the source than is read",
            expected=f"at most {processes.MAX_OUTPUT_BYTES} bytes", todo="Keep fewer or smaller files in the source.",
        )  # fmt: skip
    return done.stdout


def unusable(found: str) -> Refused:
    """That a directory is no commit to build from, and why."""
    return Refused(
        "source.unusable", "the source directory is not a usable git commit", found=found,
        expected="a directory inside a git repository with at least one commit, or an sdist file",
    )  # fmt: skip


def _start_git(
    directory: Path, arguments: tuple[str, ...], settings: Mapping[str, str] | None = None
) -> processes.Finished:
    """How git ended; args as :func:`run_git`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"LC_ALL": "C.UTF-8", "GIT_ATTR_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    # A clone can say that other objects stand in for those of the commit, under whose names they would be attested.
    environ |= {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_CONFIG_COUNT": str(len(settings or {}))}
    for number, (name, value) in enumerate((settings or {}).items()):  # as variables: a name may hold an equals sign
        environ |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    try:
        return processes.run([*_GIT, *arguments], cwd=directory, environ=environ, seconds=GIT_SECONDS)
    except FileNotFoundError as error:
        raise UsageError(
            "usage.configuration", "git is not installed", todo="Install git, or attest an sdist."
        ) from error
