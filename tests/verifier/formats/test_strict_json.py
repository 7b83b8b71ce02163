"""What vectors cannot say of strict JSON: what an error repeats, what is written, what it may cost."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Literal

import msgspec
import pytest

from tests.project.tree import ROOT
from verifier.errors import FormatError
from verifier.formats import bundle, enrolment, manifest, policy, revocations, statement, strict_json
from verifier.formats.strict_json import Document
from verifier.formats.text import Digest, Line, Name

MODULES = (bundle, enrolment, manifest, policy, revocations, statement)


class Inner(Document, frozen=True, kw_only=True):
    name: Name
    note: Line = ""


class Sample(Document, frozen=True, kw_only=True):
    v: int
    inner: tuple[Inner, ...] = ()
    table: dict[str, int] = {}  # noqa: RUF012 - msgspec copies mutable defaults
    free: dict[str, Any] = {}  # noqa: RUF012
    kind: Literal["b", "a"] = "a"
    kinds: dict[str, tuple[Literal["c", "d"], ...]] | None = None


def refusal(data: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        strict_json.parse(data, Sample, limit=1000, what="sample")
    assert caught.value.code == "format.schema"
    return caught.value


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"{}", "$"),
        (b'{"v":"1"}', "$.v"),
        (b'{"v":1,"inner":[{"name":"a"},{"name":"A"}]}', "$.inner[1].name"),
        (b'{"v":1,"inner":[{"name":"a","note":"\\u0007"}]}', "$.inner[0].note"),
        (b'{"v":1,"inner":[{"name":1}]}', "$.inner[0].name"),
        (b'{"v":1,"table":{"x":null}}', "$.table[...]"),
        (b'{"v":1,"inner":[{"name":"a","x":1}]}', "$.inner[0]"),
    ],
)
def test_the_place_is_named(data: bytes, place: str) -> None:
    assert refusal(data).what == f"sample is wrong at {place}"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"v":1,"kind":"x"}', "one of a, b"),
        (b'{"v":1,"kinds":{"k":["c","x"]}}', "one of c, d"),
        (b'{"v":1,"kind":1}', ""),
        (b"{}", ""),
    ],
)
def test_where_only_some_words_are_allowed_they_are_named(data: bytes, expected: str) -> None:
    assert refusal(data).expected == expected


def test_an_error_repeats_nothing_that_acts_on_a_terminal() -> None:
    error = refusal(b'{"v":1,"\\u001b[2J\\u202e\\n":1}')
    assert error.found == r"Object contains unknown field `\x1b[2J\u202e\n`"


def test_an_error_does_not_repeat_a_whole_document() -> None:
    assert len(refusal(b'{"v":1,"' + b"a" * 900 + b'":1}').found) <= strict_json.MAX_QUOTED


def test_a_key_cannot_pass_for_the_place() -> None:
    error = refusal(b'{"v":1,"inner":[{"name":"a","x` - at `$.v":1}]}')
    assert error.what == "sample is wrong at $.inner[0]"


def test_values_of_other_types_than_json_are_refused() -> None:
    for value in ({"v": b"1"}, {"v": 1, "inner": "abc"}, {1: 2}):
        with pytest.raises(FormatError, match="is wrong at"):
            strict_json.convert(value, Sample, what="sample")


def test_fields_are_written_in_their_order_and_defaults_left_out() -> None:
    sample = Sample(v=1, inner=(Inner(name=Name("é".encode().hex())),), free={"b": 1, "a": [None]})
    assert strict_json.dumps(sample) == b'{"v":1,"inner":[{"name":"c3a9"}],"free":{"b":1,"a":[null]}}'


def test_text_is_written_as_utf_8() -> None:
    assert strict_json.dumps({"é": "\U0001f600"}) == '{"é":"\U0001f600"}'.encode()


def test_a_value_that_is_no_document_cannot_be_written() -> None:
    with pytest.raises(NotImplementedError):
        strict_json.dumps({"x": object()})


def test_plain_values_have_plain_types() -> None:
    plain = strict_json.plain(Inner(name=Name("a")))
    assert plain == {"name": "a"}
    assert type(plain["name"]) is str


def test_documents_cannot_be_changed_and_share_no_mutable_default() -> None:
    one, other = Sample(v=1), Sample(v=1)
    with pytest.raises(AttributeError):
        one.v = 2  # type: ignore[misc]
    one.free["x"] = 1
    assert other.free == {}
    assert Sample(v=1).free == {}


def test_a_type_that_is_not_registered_is_a_mistake_of_ours() -> None:
    with pytest.raises(NotImplementedError):
        strict_json.convert("x", complex, what="sample")


# msgspec 0.22 calls no hook for the keys of a mapping (its convert, not its decode): see verifier.formats.policy.
def test_keys_of_a_mapping_get_no_type_from_msgspec() -> None:
    found = strict_json.convert({"no digest": 1}, dict[Digest, int], what="table")
    assert [type(key) for key in found] == [str]


def test_a_string_that_fills_the_document_costs_little_memory() -> None:
    code = (
        "import resource; from verifier.formats.strict_json import loads;"
        "data = b'[' + b'\"[[\",' * 40 + b'\"' + b'a' * (24 << 20) + b'\"]';"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "loads(data, limit=25 << 20, what='document');"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    unit = 1024 if sys.platform != "darwin" else 1
    assert int(done.stdout) * unit < 8 * (24 << 20)


def test_msgspec_reads_what_was_accepted_alike() -> None:
    text = json.dumps({"v": 1, "free": {"k": [1.5, "\u2028", "\U0001f600", True, None]}}).encode()
    assert strict_json.loads(text, limit=1000, what="sample") == msgspec.json.decode(text)


def typed_keys(type_: msgspec.inspect.Type) -> set[str]:
    """The fields of a document, and of those within it, whose mappings have keys of a type of ours."""
    match type_:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            typed = {
                f"{cls.__name__}.{field.name}"
                for field in fields
                if isinstance(field.type, msgspec.inspect.DictType)
                and isinstance(field.type.key_type, msgspec.inspect.CustomType)
            }
            return typed.union(*(typed_keys(field.type) for field in fields))
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
            return typed_keys(item)
        case msgspec.inspect.DictType(value_type=value):
            return typed_keys(value)
        case msgspec.inspect.UnionType(types=types):
            return set[str]().union(*map(typed_keys, types))
        case _:
            return set()


def documents(type_: type[Any] = Document) -> list[type[Any]]:
    return [found for sub in type_.__subclasses__() for found in (sub, *documents(sub))]


def test_only_mappings_that_are_checked_by_their_document_have_keys_of_a_type_of_ours() -> None:
    ours = [found for found in documents() if found.__module__.startswith("verifier.formats")]
    assert {found.__module__ for found in ours} >= {module.__name__ for module in MODULES}
    found = set[str]().union(*(typed_keys(msgspec.inspect.type_info(type_)) for type_ in ours))
    assert found == {f"Policy.{field}" for field in policy._KEYED_BY}
