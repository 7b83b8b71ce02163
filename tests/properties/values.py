"""Strategies for the values of every format, drawn from the types themselves, so that a new field is tested at once."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from verifier.formats.enrolment import ServerUrl
from verifier.formats.identity import RefPattern, RepositoryId, Workflow
from verifier.formats.manifest import EntryPoint, HostPattern, RequirementText
from verifier.formats.text import (
    PATTERNS,
    Digest,
    Duration,
    Hex,
    Name,
    PluginId,
    Specifier,
    Text,
    Time,
    Version,
)

Plain = dict[str, Any]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=4,
)
"""Any JSON value that every parser reads alike."""

SHOWN = st.characters(exclude_categories=["C", "Z"])
NUMBERS = st.integers(0, 30)
TEXTS: dict[type[Text], st.SearchStrategy[str]] = {
    Digest: st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256:{raw.hex()}"),
    Hex: st.binary(min_size=32, max_size=32).map(bytes.hex),
    Name: st.text("abz09", min_size=1, max_size=4).map(lambda word: f"{word}.x_{word}-{word}"),
    PluginId: st.text("abz09", min_size=1, max_size=4).map(lambda word: f"{word}_{word}"),
    Version: st.sampled_from(["1", "1.4.0", "2.0rc1", "1!2.3.post4.dev5", "1.0+ubuntu.1"]),
    Specifier: st.sampled_from([">=1", ">=2.0,<3.0", "~=1.4", "==1.*", "!=1.5,>1"]),
    Time: st.datetimes().map(lambda moment: f"{moment.replace(microsecond=0).isoformat()}Z"),
    Duration: st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda part: f"P{part[0]}DT{part[1]}H{part[2]}S"),
    HostPattern: st.sampled_from(["a", "api.example.org", "*.example.org", "1.2.3.4", "xn--bcher-kva.example"]),
    RefPattern: st.sampled_from(["refs/heads/main", "refs/tags/v*", "refs/tags/*", "refs/tags/v1.0"]),
    RepositoryId: st.integers(1, 10**18).map(str),
    Workflow: st.sampled_from(["https://host.example/a/b/release.yml", "https://host.example/a//.ci.yml@refs/heads/x"]),
    RequirementText: st.sampled_from(["attrs", "openai>=2.0,<3.0", "Foo.bar[extra] ~= 1.4"]),
    EntryPoint: st.sampled_from(["p", "p.q:R", "a.b.c:d.e"]),
    ServerUrl: st.sampled_from(["http://[::1]:8080", "https://loadlock.example", "http://127.0.0.1:1/a/b"]),
}


def plain_values(type_: type[Any]) -> st.SearchStrategy[Any]:
    """Plain values that fit ``type_``, each optional field there or not; rules between fields are not kept."""
    return _of(inspect.type_info(type_))


def _of(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.StructType(fields=fields):
            return _struct(fields)
        case inspect.CustomType(cls=cls):
            return TEXTS[cls]
        case inspect.StrType():
            return _text(type_)
        case inspect.IntType(ge=low, le=high):
            return st.integers(low or 0, min(high or 2**53 - 1, 2**53 - 1))
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.VarTupleType(item_type=item, min_length=low):
            return st.lists(_of(item), min_size=low or 0, max_size=2)
        case inspect.DictType(key_type=key, value_type=value, min_length=low):
            return st.dictionaries(_of(key), _of(value), min_size=low or 0, max_size=2)
        case inspect.UnionType(types=types):
            return st.one_of(*map(_of, types))
        case inspect.AnyType():
            return JSON
        case _:
            raise NotImplementedError(type_)


def _struct(fields: tuple[inspect.Field, ...]) -> st.SearchStrategy[Plain]:
    required = {field.encode_name: _of(field.type) for field in fields if field.required}
    optional = {field.encode_name: _of(field.type) for field in fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional)


def _text(type_: inspect.StrType) -> st.SearchStrategy[str]:
    low, high = type_.min_length or 0, min(type_.max_length or 30, 30)
    if type_.pattern is None:
        return st.text(min_size=low, max_size=high)
    if type_.pattern in PATTERNS:
        return st.text(SHOWN, min_size=low, max_size=high).filter(re.compile(type_.pattern).search)
    return st.from_regex(type_.pattern).filter(lambda text: low <= len(text) <= high)
