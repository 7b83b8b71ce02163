"""An example of every JSON body and answer of the API, by the name of its type; a test reads each as what it shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from crl_server.api.problems import document_of
from verifier.codes import CODES
from verifier.errors import LoadlockError
from verifier.formats.strict_json import plain

FILE = "examples.json"


@cache
def examples() -> Mapping[str, Any]:
    """The examples, read once, and only where somebody asks for the document."""
    return json.loads(files("crl_server.api").joinpath(FILE).read_bytes())  # type: ignore[no-any-return]


def example_of(kind: Any) -> dict[str, Any]:
    """What the OpenAPI document says beside the schema of a type: its example, if it has one."""
    found = examples().get(getattr(kind, "__name__", ""))
    return {} if found is None else {"example": found}


def example_problem(codes: Sequence[str]) -> dict[str, Any]:
    """The example of a problem: the first of these codes that is one code, and not a group of them (``…*``)."""
    code = next((code for code in codes if not code.endswith("*")), None)
    return {} if code is None else {"example": plain(document_of(LoadlockError(code, CODES[code].meaning)))}
