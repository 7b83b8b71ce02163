"""``host exec``: run an unchanged host, whose plugins are found behind the gate.

Its exit status is the program's, as of everything that stands before another program; what Loadlock itself has to
refuse it refuses before the program begins. With ``--json`` what the program prints goes to standard error, so that one
JSON object is all there is on standard output: with ``status`` and ``ok`` once the program has run, or with ``error``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from verifier.command import Command, Output
from verifier.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from verifier.hosting import Plugins


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--settings", metavar="FILE", help="the host's settings (default: loadlock.toml in the deployment directory)"
    )
    # One argument: of two, argparse would take a "--" between them for its own.
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="PROGRAM ...",
        help="a program that the host's distribution installs, and its arguments",
    )  # fmt: skip


def _exec(args: argparse.Namespace, output: Output) -> int:
    from verifier.hosting import Plugins
    from verifier.hosting.discovery import guard

    argv = args.words[1:] if args.words[:1] == ["--"] else args.words
    program = _program(argv)
    with Plugins.open(args.settings or args.deployment) as plugins, guard(plugins):
        with _printing_aside() if output.json else contextlib.nullcontext():
            status = _run(program, argv)
        output.result({"ok": status == 0, "status": status, **_told(plugins)})
    return status


def _program(argv: list[str]) -> EntryPoint:
    from importlib.metadata import entry_points

    if not argv:
        raise UsageError("usage.arguments", "there is nothing to run", expected="loadlock host exec PROGRAM ...")
    name = argv[0]
    found = list(entry_points(group="console_scripts", name=name))
    if len(found) != 1:
        raise UsageError(
            "usage.arguments", "no distribution in this environment installs that program, or several do",
            found=f"{name!a}: {len(found)}", expected="one",
        )  # fmt: skip
    return found[0]


@contextlib.contextmanager
def _printing_aside() -> Iterator[None]:
    """What is printed meanwhile, also by the program's own children, goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _run(program: EntryPoint, argv: list[str]) -> int:
    """What the script that an installer writes does; its exit status."""
    before, sys.argv = sys.argv, argv
    try:
        ended = program.load()()
    except SystemExit as end:
        ended = end.code
    except Exception:
        traceback.print_exc()  # as Python does, and ends with 1
        ended = 1
    finally:
        sys.argv = before
    if ended is None or isinstance(ended, int):
        return ended or 0
    sys.stderr.write(f"{ended}\n")  # as Python does with what a script ends with
    return 1


def _told(plugins: Plugins) -> dict[str, Any]:
    return {
        "loaded": [plugin.facts.artifact_digest for plugin in plugins.loaded],
        "refused": [{"file": refused.path.name, "error": refused.error.document()} for refused in plugins.refused],
    }


COMMAND = Command("host exec", "run a host unchanged, its plugins behind the gate", _configure, _exec)
