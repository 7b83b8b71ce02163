"""JSON Schema (2020-12) of the types that documents are read into: what :func:`msgspec.json.schema` does not know."""

from __future__ import annotations

from typing import Any

from verifier.formats.text import Text


def schema_of_text(kind: type[Any]) -> dict[str, Any]:
    """The schema of a textual value, for ``schema_hook``.

    Raises:
        NotImplementedError: it is no such type; msgspec asks for this error.
    """
    if issubclass(kind, Text):
        return {"type": "string", "pattern": rf"\A(?:{kind.grammar})\Z", "description": kind.words}
    raise NotImplementedError(kind)


def in_ecma(schema: Any) -> Any:
    """A schema whose patterns are in the dialect of JSON Schema, which is that of ECMA 262."""
    # There \A and \Z are the letters A and Z, and ^ and $ match at the ends only.
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\A", "^").replace(r"\Z", "$") if key == "pattern" and isinstance(value, str)
            else in_ecma(value)
            for key, value in schema.items()
        }  # fmt: skip
    return [in_ecma(item) for item in schema] if isinstance(schema, list) else schema
