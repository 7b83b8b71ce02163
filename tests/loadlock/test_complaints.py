"""What argparse complains of is said like every other error: what is wrong, found, expected, and what to do next."""

from __future__ import annotations

import argparse

import pytest

from loadlock import cli
from loadlock.cli import main
from loadlock.complaints import usage_error

COMPLAINTS = {
    "host: a word that is none": (
        "verify x.whl --tier gold", "--tier is none of the words it can be", "'gold'", "untrusted, vetted, core"
    ),
    "host: an unknown option": ("verify --installd x", "does not take that", "--installd", "--installed"),
    "host: another word": ("run w.whl x --entry a:b", "does not take that", "x", "only what --help lists"),
    "host: too little": ("run", "something is missing", "no WHEEL, no --entry", "WHEEL, --entry"),
    "host: a value that is missing": (
        "verify x.whl --deployment", "--deployment lacks its value", "none behind it", "one argument"
    ),
    "host: a value too many": ("verify --json=3", "--json takes no value", "'3'", "--json alone"),
    "host: what a terminal would act on": (
        "verify --x\x1b[31m", "does not take that", "--x\\x1b[31m", "only what --help lists"
    ),
    "owner: too little": ("attest .", "something is missing", "no -o/--output", "-o/--output"),
    "owner: none of several": (
        "attest -o dist", "something is missing", "none of several that exclude one another", "SOURCE --wheel"
    ),
    "owner: both of several": (
        "rebuild w.whl --unsigned --key k", "does not go with", "both", "one of the two"
    ),
    "certifier: a word that is none": (
        "certify w.whl --tier gold --expires 2030-01-01", "--tier is none of the words", "'gold'",
        "untrusted, vetted, core",
    ),
    "operator: no number": ("serve --port http", "--port cannot be that", "'http'", "a whole number"),
    "operator: a role that is none": (
        "token create me --role king", "--role is none of the words", "'king'",
        "publisher, revoker, approver, auditor, operator, host",
    ),
    "operator: too little": ("waive approve", "something is missing", "no N", "N"),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPLAINTS)
def test_what_is_wrong_found_expected_and_next(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    line, what, found, expected = COMPLAINTS[case]
    words = line.split()
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("[usage.arguments] ")
    assert what in said[0]
    assert said[1:3] == [f"  found:    {found}", f"  expected: {expected}"]
    assert said[3].startswith("  next:     See 'loadlock ")
    assert said[3].endswith(" --help'.")
    assert len(said) == 4


def test_a_complaint_of_no_known_form_is_said_in_its_own_words() -> None:
    parser = argparse.ArgumentParser(prog="loadlock act")
    assert usage_error("argument --at: not a moment\x07", parser).what == "argument --at: not a moment\\x07"


def test_each_role_is_asked() -> None:
    roles = {case.partition(":")[0] for case in COMPLAINTS}
    assert roles == {"host", "owner", "certifier", "operator"}
    assert {"verifier", "attestor", "crl_server"} <= {package for package, commands in cli._packages() if commands}
