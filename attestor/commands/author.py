"""The commands of a plugin's author, before anything is built: ``init-plugin``, ``manifest draft``, ``validate``."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from verifier.command import Command, Output, given
from verifier.errors import UsageError


def _configure_init(parser: argparse.ArgumentParser) -> None:
    from attestor.scaffold import SYSTEMS

    parser.add_argument("directory", metavar="DIR", help="a new directory")
    parser.add_argument("--name", metavar="NAME", help="the distribution's name (default: the directory's)")
    parser.add_argument("--owner", metavar="NAME", required=True, help="who will sign its manifest, as the policy says")
    parser.add_argument("--description", metavar="TEXT", default="Sends rows to the archive.", help="one line")
    parser.add_argument("--ci", choices=SYSTEMS, default="github", help="the CI system to write a pipeline for")


def _init(args: argparse.Namespace, output: Output) -> None:
    from attestor.scaffold import scaffold, write
    from verifier.formats.text import Name

    place = Path(args.directory)
    owner = given(Name, args.owner, "the owner")
    made = scaffold(args.name or place.resolve().name, owner, args.description, args.ci)
    write(place, made)
    for path in sorted(made):
        output.say(f"  {path}")
    output.say("Next: run its tests, 'loadlock validate', commit it, 'loadlock attest'.")
    output.result({"ok": True, "directory": str(place), "files": sorted(made)})


def _configure_draft(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE|WHEEL", help="the project's directory, or a wheel")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the draft goes (default: it is printed)")


def _draft(args: argparse.Namespace, output: Output) -> None:
    import os

    from attestor.describing.analysis import analyse
    from attestor.describing.code import read_code
    from attestor.describing.draft import draft_manifest
    from attestor.describing.unwritten import unwritten
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
    from attestor.describing.validation import validate

    problems = validate(Path(args.source), Path(args.manifest) if args.manifest else None, datetime.now(UTC))
    for problem in problems:
        output.say(str(problem))
    errors = sum(problem.level == "error" for problem in problems)
    ok = not errors and not (args.strict and problems)
    output.say(f"{errors} errors, {len(problems) - errors} warnings")
    output.result({"ok": ok, "problems": [problem.document for problem in problems]})
    return 0 if ok else 1


AUTHOR_COMMANDS: tuple[Command, ...] = (
    Command("init-plugin", "make the first files of a new plugin", _configure_init, _init),
    Command("manifest draft", "draft a plugin manifest from the code", _configure_draft, _draft),
    Command("validate", "hold a plugin manifest against the code", _configure_validate, _validate),
)
