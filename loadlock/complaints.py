"""What argparse complains of, said as all errors of Loadlock are: what is wrong, what was found, what was expected."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Final

from verifier.errors import UsageError
from verifier.formats.strict_json import quoted

_NUMBERS: Final = {"int": "a whole number", "float": "a number"}

Said = Mapping[str, str]
Words = Callable[[Said, argparse.ArgumentParser], tuple[str, str, str]]
"""What is wrong, what was found and what was expected, by the parts of argparse's message."""


def usage_error(message: str, parser: argparse.ArgumentParser) -> UsageError:
    """A complaint of argparse's as an error like all others; one that is of no known form in its own words.

    Args:
        message: argparse's.
        parser: whose complaint it is.
    """
    todo = f"See '{parser.prog} --help'."
    for pattern, words in _FORMS:
        if match := pattern.fullmatch(message):
            what, found, expected = words(match.groupdict(), parser)
            return UsageError("usage.arguments", what, found=quoted(found), expected=quoted(expected), todo=todo)
    return UsageError("usage.arguments", quoted(message), todo=todo)


def _unknown(said: Said, parser: argparse.ArgumentParser) -> tuple[str, str, str]:
    known = re.findall(r"(?<=[ \[|])--?[a-z][a-z-]*", parser.format_usage())
    meant = get_close_matches(said["found"].split()[0], known)
    return f"{parser.prog!r} does not take that", said["found"], " or ".join(meant) or "only what --help lists"


_FORMS: Final[tuple[tuple[re.Pattern[str], Words], ...]] = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        (
            r"argument (?P<name>.+?): invalid choice: (?P<found>.+) \(choose from (?P<known>.+)\)",
            lambda said, _: (f"{said['name']} is none of the words it can be", said["found"], _unquoted(said["known"])),
        ),
        (
            r"argument (?P<name>.+?): invalid (?P<kind>\w+) value: (?P<found>.+)",
            lambda said, _: (f"{said['name']} cannot be that", said["found"], _NUMBERS.get(said["kind"], said["kind"])),
        ),
        (
            r"argument (?P<name>.+?): expected (?P<expected>.+)",
            lambda said, _: (f"{said['name']} lacks its value", "none behind it", said["expected"]),
        ),
        (
            r"argument (?P<name>.+?): ignored explicit argument (?P<found>.+)",
            lambda said, _: (f"{said['name']} takes no value", said["found"], f"{said['name']} alone"),
        ),
        (
            r"argument (?P<name>.+?): not allowed with argument (?P<other>.+)",
            lambda said, _: (f"{said['name']} does not go with {said['other']}", "both", "one of the two"),
        ),
        (
            r"one of the arguments (?P<names>.+) is required",
            lambda said, _: ("something is missing", "none of several that exclude one another", said["names"]),
        ),
        (
            r"the following arguments are required: (?P<names>.+)",
            lambda said, _: ("something is missing", f"no {said['names'].replace(', ', ', no ')}", said["names"]),
        ),
        (r"unrecognized arguments: (?P<found>.+)", _unknown),
    )
)


def _unquoted(choices: str) -> str:
    return choices.replace("'", "")
