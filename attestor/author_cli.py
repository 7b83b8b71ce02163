"""The commands of a plugin's author, before anything is built: ``manifest draft`` and ``validate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from verifier.command import Command, Output
from verifier.errors import UsageError


def _configure_draft(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE|WHEEL", help="the project's directory, or a wheel")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the draft goes (default: it is printed)")


def _draft(args: argparse.Namespace, output: Output) -> None:
    import os

    from attestor.analysis import analyse
    from attestor.code import read_code
    from attestor.draft import draft_manifest
    from attestor.unwritten import unwritten
    from verifier.files import write_atomic

    code = read_code(Path(args.source))
    found = analyse(code.files)
    document = draft_manifest(code, found)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if args.output:
        if os.path.lexists(args.output):
            raise UsageError("usage.exists", f"{args.output!a} exists already", todo="Name another file.")
        write_atomic(Path(args.output), text.encode())
        output.say(f"a draft is written to {args.output}; it is refused until you have written:")
        for left in unwritten(document):
            output.say(f"  {left}")
    else:
        output.say(text.rstrip())
    for place, what in (*found.broken, *found.unseen):
        output.say(f"not seen: {place}: {what}")
    output.result(
        {
            "ok": True,
            "file": args.output,
            "manifest": document,
            "unwritten": list(unwritten(document)),
            "unseen": [f"{place}: {what}" for place, what in (*found.broken, *found.unseen)],
        }
    )


def _configure_validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE|WHEEL", help="the project's directory, or a wheel")
    parser.add_argument("--manifest", metavar="FILE", help="the manifest (default: the source's own)")
    parser.add_argument("--strict", action="store_true", help="warnings stop it too")


def _validate(args: argparse.Namespace, output: Output) -> int:
    from attestor.validation import validate

    problems = validate(Path(args.source), Path(args.manifest) if args.manifest else None)
    for problem in problems:
        output.say(str(problem))
    errors = sum(problem.level == "error" for problem in problems)
    ok = not errors and not (args.strict and problems)
    output.say(f"{errors} errors, {len(problems) - errors} warnings")
    output.result({"ok": ok, "problems": [problem.document for problem in problems]})
    return 0 if ok else 1


AUTHOR_COMMANDS: tuple[Command, ...] = (
    Command("manifest draft", "draft a plugin manifest from the code", _configure_draft, _draft),
    Command("validate", "hold a plugin manifest against the code", _configure_validate, _validate),
)
