"""Puts off a costly import: the grammar of internationalised addresses (RFC 3987) by which jsonschema checks formats.

At import that package compiles 38 parsers. That takes two seconds, more than all that attesting does beside
building. An SBOM of ours holds no such address, so most runs never need one. The check stays as strict as it was: the
first address that is met loads the real package and is judged by it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_NAME = "rfc3987_syntax"


@contextmanager
def late_grammar() -> Iterator[None]:
    """Inside, whoever imports the package gets a stand-in for the one function that jsonschema takes from it.

    Nothing is done where the package is loaded already, or not installed. Afterwards the real one can be imported.
    """
    if _NAME in sys.modules or find_spec(_NAME) is None:
        yield
        return
    stand_in = ModuleType(_NAME)
    vars(stand_in)["is_valid_syntax"] = _is_valid_syntax
    sys.modules[_NAME] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(_NAME) is stand_in:
            del sys.modules[_NAME]


def _is_valid_syntax(term: str, value: str) -> bool:
    """What the real function says of ``value`` as a ``term`` of the grammar."""
    return bool(import_module(_NAME).is_valid_syntax(term, value))
