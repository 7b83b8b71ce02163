"""Which words a field of a document may be: looked up only once a document had another one."""

from __future__ import annotations

import re
from typing import Any

import msgspec.inspect as types

MOST = 20
"""How many choices an error repeats."""


def choices(type_: Any, place: str) -> str:
    """The words that are allowed at a place, sorted, for an error; empty where that cannot be told.

    Args:
        type_: the document's type.
        place: where, as msgspec says it: ``$.capabilities[0].name``; ``[...]`` stands for a key or value of a mapping.
    """
    current = _plain(types.type_info(type_))
    for step in re.findall(r"\.([A-Za-z0-9_:/-]+)|\[", place):
        below = _below(current, step)
        if below is None:
            return ""
        current = _plain(below)
    found = [str(value) for value in current.values] if isinstance(current, types.LiteralType) else []
    more = ", …" if len(found) > MOST else ""
    return f"one of {', '.join(found[:MOST])}{more}" if found else ""


def _below(current: types.Type, step: str) -> types.Type | None:
    """What is at the field ``step``; without one, what an array or a mapping holds."""
    if isinstance(current, types.StructType):
        return next((field.type for field in current.fields if field.encode_name == step), None)
    if isinstance(current, types.VarTupleType | types.ListType | types.SetType):
        return current.item_type
    return current.value_type if isinstance(current, types.DictType) else None


def _plain(found: types.Type) -> types.Type:
    """A type without its metadata, and of ``X | None`` the X."""
    while isinstance(found, types.Metadata | types.UnionType):
        if isinstance(found, types.Metadata):
            found = found.type
            continue
        others = [one for one in found.types if not isinstance(one, types.NoneType)]
        if len(others) != 1:
            return found
        found = others[0]
    return found
