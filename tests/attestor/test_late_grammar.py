"""The costly grammar is loaded when it is needed, and judges as it did."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from attestor.late_grammar import late_grammar
{before}
with late_grammar():
    from jsonschema.validators import Draft7Validator
formats = Draft7Validator.FORMAT_CHECKER
print("lark" in sys.modules, "rfc3987_syntax" in sys.modules, "iri" in formats.checkers)
print([formats.conforms(text, "iri") for text in ("https://host.example/\\u00fc", "no address", "https://x/%zz")])
print([formats.conforms(text, "iri-reference") for text in ("../x", "a b")])
import rfc3987_syntax
print("lark" in sys.modules, hasattr(rfc3987_syntax, "parse"))
"""


def said(before: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT.format(before=before)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def test_it_waits_for_the_first_address_and_is_as_strict() -> None:
    late, early = said(""), said("import rfc3987_syntax")
    assert late[0] == "False False True"
    assert early[0] == "True True True"
    assert late[1:] == early[1:] == ["[True, False, False]", "[True, False]", "True True"]
