"""JSON without a second reading: every document of Loadlock comes in and goes out through this module.

Refused are oversized input, anything but UTF-8, a byte order mark, deep nesting, duplicate keys, NaN and infinities,
integers beyond 2^53-1, lone surrogates, and whatever a type does not describe: unknown fields, missing ones, wrong
types. RFC 8259 leaves each of these to the parser, and two parsers that disagree are a way round a signature
(RFC 7493, I-JSON, says the same).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, NewType, NoReturn, TypeVar, Union

import msgspec

from verifier.errors import FormatError
from verifier.formats.patterns import compiled
from verifier.formats.tables import prepare, reader
from verifier.formats.text import PATTERNS, Text

if TYPE_CHECKING:
    import json

T = TypeVar("T")

MAX_DEPTH = 64
"""How deeply arrays and objects may nest."""
MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON parser reads alike (RFC 7493 section 2.2)."""
MAX_NUMBER_LENGTH = 32
"""How many characters a number may have."""
MAX_VALUES = 2_000_000
"""How many commas and opening brackets a document may hold: no more values than that take up memory."""
MAX_QUOTED = 300
"""How many characters of a document an error repeats."""
COMMON_DEPTH = 8
"""How deeply the common spelling nests: our own statements do not go deeper, and each level doubles the reader."""

# Possessive: a string is never read a second time, so that a long one takes no memory for ways back.
_BRACKETS = r'(?s)"(?:[^"\\]++|\\.)*+"?|([\[{])|([\]}])'
# msgspec ends a message with the place, in field names alone; what stands before may repeat the document.
_PLACE = r"(?s)(.*) - at `(key` in `)?(\$[A-Za-z0-9_.:/\[\]-]*)`"
_NO_BASE64 = "Invalid base64 encoded string"
"""What msgspec says of text that stands for no bytes."""
_NO_CHOICE = "Invalid enum value "
"""How what msgspec says of a word that is none of several begins."""
_SURROGATE = r"\\u[dD][89a-fA-F]"
_NONE = object()


class Common(bytes):
    """A document in the common spelling, of which all rules of :func:`loads` but its size were asked before."""

    __slots__ = ()


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of every format's values: immutable, closed, fields in the order in which they are written."""


def loads(data: bytes, *, limit: int, what: str) -> Any:
    """Read one JSON value.

    Args:
        data: the document's bytes.
        limit: its size cap in bytes.
        what: what the document is, for the error's reader (``"policy"``).

    Raises:
        FormatError: ``format.too-large``, ``.encoding``, ``.depth``, ``.duplicate-key``, ``.number``, ``.syntax``.
    """
    if len(data) > limit:
        raise FormatError(
            "format.too-large", f"{what} is too large", found=f"{len(data)} bytes", expected=f"at most {limit} bytes"
        )
    value = _read_back(data, _reader())
    return _uncommon(data, what) if value is _NONE else value


def common(data: bytes, *, limit: int) -> Common | None:
    """The same document, if it is in the common spelling and of no more bytes than ``limit``; else None."""
    return None if len(data) > limit or _read_back(data, _reader()) is _NONE else Common(data)


def read_common(data: bytes, type_: type[T], *, limit: int) -> T | None:
    """A document that is spelled exactly as its type would be written; None of any other, for :func:`parse` to judge.

    Args:
        data: the document's bytes.
        type_: a type in which no number occurs, nor anything that may be of any type, nor a grammar of ours.
        limit: the document's size cap in bytes.
    """
    known: Any = type_  # a class is hashable, which mypy does not see of a type variable
    value: Any = _NONE if len(data) > limit else _read_back(data, reader(known).decode)
    found: T | None = None if value is _NONE else value
    return found


def _read_back(data: bytes, read: Callable[[bytes], Any]) -> Any:
    """The value of a document that is spelled as :func:`dumps` would spell it; ``_NONE`` of any other.

    Read and written again, it is the same bytes: so no key can stand in it twice, nor anything else that the value
    does not say. The type that it is read into bounds its depth and its numbers. All of that happens in C; whatever is
    not so, good or bad, is read the long way.
    """
    if data[1:2].isspace():  # indented, so nothing of it need be tried
        return _NONE
    if len(data) > MAX_VALUES and data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        return _NONE
    try:
        value = read(data)
        return value if msgspec.json.encode(value) == data else _NONE
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _NONE


@cache  # made when the first document is read: it takes a millisecond
def _reader() -> Callable[[bytes], Any]:
    level: Any = NewType  # told from others by its identity, where a union is by all that it is made of, at each level
    union: Any = Union  # of all at once: by twos, each is taken apart again
    scalars = (None, bool, Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)], str)
    anything = no_list = union[scalars]
    for _ in range(COMMON_DEPTH):
        table = GenericAlias(dict, (str, anything))
        anything, no_list = (
            level("anything", union[(*scalars, GenericAlias(list, (no_list,)), table)]),
            level("no_list", union[(*scalars, table)]),
        )
    return reader(anything).decode


def _uncommon(data: bytes, what: str) -> Any:
    """The value of a document in any spelling: the rules, one after the other."""
    import json  # a millisecond, for who meets another spelling

    text = _decode(data, what)
    _check_values(text, what)
    _check_depth(text, what)
    try:
        value = _decoder(what).decode(text)
    except json.JSONDecodeError as error:
        raise FormatError(
            "format.syntax", f"{what} is not JSON", found=f"{error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    if "\\u" in text and compiled(_SURROGATE).search(text):
        _check_surrogates(value, what)
    return value


@lru_cache(maxsize=128)
def _decoder(what: str) -> json.JSONDecoder:
    import json  # as above

    return json.JSONDecoder(
        object_pairs_hook=lambda pairs: _unique(pairs, what),
        parse_constant=lambda token: _bad_number(token, what),
        parse_int=lambda token: _integer(token, what),
        parse_float=lambda token: _float(token, what),
    )


def parse(data: bytes, type_: type[T], *, limit: int, what: str) -> T:
    """Read a document of a known type; see :func:`loads` for the arguments.

    Raises:
        FormatError: as :func:`loads`, and ``format.schema`` with the place of the first field that is wrong.
    """
    if type(data) is Common and len(data) <= limit:
        known: Any = type_  # as above
        read: Callable[[bytes], T] = reader(known, _decode_text).decode
        return _typed(read, data, type_, what)
    return convert(loads(data, limit=limit, what=what), type_, what=what)


def convert(value: Any, type_: type[T], *, what: str) -> T:
    """Give plain JSON values their type.

    Raises:
        FormatError: ``format.schema``, with the place.
    """
    prepare(type_)
    return _typed(lambda plain: msgspec.convert(plain, type_, dec_hook=_decode_text), value, type_, what)


def _typed(read: Callable[[Any], T], value: Any, type_: type[T], what: str) -> T:
    """A value of the type that a document has to be of; or the refusal of one that is not, with the place."""
    try:
        return read(value)
    except msgspec.ValidationError as error:
        reason, where = str(error), "$"
        if place := compiled(_PLACE).fullmatch(reason):
            reason, where = place[1], f"{place[3]}, a key" if place[2] else place[3]
        for pattern, words in PATTERNS.items():
            reason = reason.replace(f"`str` matching regex {pattern!r}", words)
        code = "format.base64" if reason == _NO_BASE64 else "format.schema"
        expected = _choices(type_, where) if reason.startswith(_NO_CHOICE) else ""
        raise FormatError(code, f"{what} is wrong at {where}", found=quoted(reason), expected=expected) from None


def _choices(type_: Any, where: str) -> str:
    from verifier.formats.choices import choices  # rarely asked for

    return choices(type_, where)


def dumps(value: Any) -> bytes:
    """Write a value compactly, as UTF-8: fields in their declared order, mappings in their own."""
    return msgspec.json.encode(value, enc_hook=_encode_text)


def plain(value: Any) -> Any:
    """The value as dictionaries, lists and scalars."""
    return msgspec.to_builtins(value, enc_hook=_encode_text)


def quoted(text: str) -> str:
    """Text out of a document, cut short and with everything escaped that a terminal would act on."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:MAX_QUOTED])


def _decode(data: bytes, what: str) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("format.encoding", f"{what} is not UTF-8", found=f"byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise FormatError("format.encoding", f"{what} begins with a byte order mark")
    return text


def _check_values(text: str, what: str) -> None:
    # Two bytes of text can become an object of sixty-four: the size cap alone does not bound memory and time.
    if len(text) > MAX_VALUES and text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        raise FormatError("format.too-large", f"{what} holds too many values", expected=f"at most {MAX_VALUES}")


def _check_depth(text: str, what: str) -> None:
    # Counted before parsing: the parser itself recurses, and a deep document must not reach it.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in compiled(_BRACKETS).finditer(text):
        if match[1]:
            depth += 1
            if depth > MAX_DEPTH:
                raise FormatError("format.depth", f"{what} nests too deeply", expected=f"at most {MAX_DEPTH} levels")
        elif match[2]:
            depth -= 1


def _unique(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError("format.duplicate-key", f"{what} names a key twice", found=repr(twice[:80]))
    return value


def _bad_number(token: str, what: str) -> NoReturn:
    raise FormatError(
        "format.number", f"{what} holds a number out of range", found=token[:40], expected=f"|n| up to {MAX_INTEGER}"
    )


def _integer(token: str, what: str) -> int:
    if len(token) > MAX_NUMBER_LENGTH or abs(int(token)) > MAX_INTEGER or token == "-0":
        _bad_number(token, what)
    return int(token)


def _float(token: str, what: str) -> float:
    if len(token) > MAX_NUMBER_LENGTH or abs(float(token)) > MAX_INTEGER:
        _bad_number(token, what)
    return float(token)


def _check_surrogates(value: Any, what: str) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise FormatError("format.encoding", f"{what} holds a lone surrogate", found=repr(item[:40])) from None
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _decode_text(type_: type[Text], value: Any) -> Text:
    if isinstance(value, str):
        return _text(type_, value)
    raise ValueError(f"expected {type_.words}, found {type(value).__name__}")


@lru_cache(maxsize=512)  # plugins of one deployment share owners, versions, moments, sources
def _text(type_: type[Text], value: str) -> Text:
    if not issubclass(type_, Text):  # a mistake in Loadlock: no format may hold anything that reads itself
        raise NotImplementedError(type_)
    return type_(value)


def _encode_text(value: Any) -> str:
    if isinstance(value, Text):
        return str.__str__(value)
    raise NotImplementedError(type(value))
