"""What is spelled as tools spell it is read in one go, and judged exactly like any other spelling of the same.

Each document is read as it is, and again with something added that means nothing and that no tool writes, such as white
space behind JSON. Then it is read the long way. The parts of a wheel are in ``test_wheel_spellings.py``.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import parse_tag
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version as PackagingVersion

from tests.properties.test_formats import PROPERTY, VALID, places
from tests.properties.values import JSON
from tests.verifier.formats.vectors import PARSERS
from verifier.errors import LoadlockError
from verifier.formats import packages, strict_json
from verifier.formats.bundle import dump_bundle, parse_bundle
from verifier.formats.manifest import RequirementText
from verifier.formats.patterns import compiled
from verifier.formats.statement import Statement, dump_statement, parse_statement
from verifier.formats.text import Hex

SCALARS = JSON | st.integers(-(2**70), 2**70) | st.floats() | st.text(st.characters(), max_size=5)
BYTES = st.sampled_from(b'"\\,:[]{}0e.-u \n\x00\xff')


def outcome(read: Callable[[Any], object], data: object) -> tuple[str, str]:
    """What reading leads to: a value with the types of all that is in it, or a refusal's code."""
    try:
        return "value", repr(read(data))
    except LoadlockError as error:
        return "refused", error.code


# -- JSON --------------------------------------------------------------------------------------------------------------


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and tables, some of them many levels deep."""
    deep = st.tuples(inner, st.lists(st.sampled_from("[{"), max_size=12)).map(
        lambda drawn: functools.reduce(lambda value, kind: [value] if kind == "[" else {"a": value}, drawn[1], drawn[0])
    )
    return deep | st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)


def read_json(data: bytes) -> object:
    return strict_json.loads(data, limit=100_000, what="document")


@PROPERTY
@given(st.data())
def test_any_json(data: st.DataObject) -> None:
    value = data.draw(st.recursive(SCALARS, nested, max_leaves=40))
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0)) % len(text)
        text = text[:at] + bytes([data.draw(BYTES)]) + text[at + data.draw(st.integers(0, 1)) :]
    assert outcome(read_json, text) == outcome(read_json, text + b" ")


@pytest.mark.parametrize("name", sorted(set(PARSERS) - {"set-file"}))
@PROPERTY
@given(at=st.integers(0), byte=BYTES, length=st.integers(0, 1), cut=st.booleans())
def test_a_document_of_ours_with_a_change(name: str, at: int, byte: int, length: int, cut: bool) -> None:
    valid = strict_json.dumps(json.loads(VALID[name].split(b"\n")[0]))
    at %= len(valid)
    changed = valid[:at] if cut else valid[:at] + bytes([byte]) + valid[at + length :]
    assert outcome(read_json, changed) == outcome(read_json, changed + b" ")


LINES = {name: dump_bundle(parse_bundle(VALID[name])) for name in ("bundle", "keyless-bundle")}
FIELDS = st.sampled_from(
    [
        b'"keyid":""', b'"keyid":"a",', b'"hint":"x",', b'"publicKey":{"hint":"x"},',
        b'"certificate":{"rawBytes":"AA=="},', b'"tlogEntries":[],', b"=", b"==", b"A", b"/", b"[]", b"null", b'"',
    ]
)  # fmt: skip


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@settings(PROPERTY, max_examples=500)
@given(at=st.integers(0), piece=FIELDS | st.binary(max_size=1), length=st.integers(0, 4))
def test_a_bundle_with_a_change(line: bytes, at: int, piece: bytes, length: int) -> None:
    place = at % len(line)
    changed = line[:place] + piece + line[place + length :]
    assert outcome(parse_bundle, line) == outcome(parse_bundle, line + b" ")
    assert outcome(parse_bundle, changed) == outcome(parse_bundle, changed + b" ")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"":', b'["[",'])
def test_every_depth(opening: bytes) -> None:
    for depth in range(70):
        text = opening * depth + b"0"
        for bracket in reversed(opening * depth):
            text += {ord("["): b"]", ord("{"): b"}"}.get(bracket, b"")
        assert outcome(read_json, text) == outcome(read_json, text + b" ")


@pytest.mark.parametrize(
    "text",
    [
        b"9007199254740991", b"9007199254740992", b"-9007199254740991", b"-9007199254740992", b"18446744073709551616",
        b"-0", b"-0.0", b"0.5", b"1.0", b"1e3", b"1e400", b"NaN", b"00", b"1" * 33, b'"\\u0041"', b'"\\ud800"',
        b'"\\u001f"', b'"\x7f"', b'"\xed\xa0\x80"', b'{"a":1,"a":1}', b'{"a":1,"\\u0061":1}', b"\xef\xbb\xbf{}", b"",
    ],
)  # fmt: skip
def test_what_parsers_quarrel_about(text: bytes) -> None:
    for whole in (text, b"[" + text + b"]", b'{"k":' + text + b"}"):
        assert outcome(read_json, whole) == outcome(read_json, whole + b" ")


# -- statements, and what they say -------------------------------------------------------------------------------------

PREDICATES = {
    name: VALID[name]
    for name in ("signed-manifest", "sbom", "provenance", "certification", "vulnerabilities", "test-result")
}


def around(predicate: bytes) -> bytes:
    """A statement with this predicate, in the common spelling."""
    return dump_statement(
        Statement(subject_name="a.whl", sha256=Hex("0f" * 32), predicate_type="x:y", predicate=predicate)
    )


@pytest.mark.parametrize("name", PREDICATES)
@PROPERTY
@given(at=st.integers(0), piece=BYTES | JSON.map(strict_json.dumps), length=st.integers(0, 3))
def test_a_statement_with_a_change(name: str, at: int, piece: int | bytes, length: int) -> None:
    valid = around(strict_json.dumps(json.loads(PREDICATES[name])))
    place = at % len(valid)
    changed = valid[:place] + (piece if isinstance(piece, bytes) else bytes([piece])) + valid[place + length :]
    assert outcome(parse_statement, changed) == outcome(parse_statement, changed + b" ")


@pytest.mark.parametrize("name", PREDICATES)
@PROPERTY
@given(data=st.data())
def test_a_predicate_with_another_value(name: str, data: st.DataObject) -> None:
    document = json.loads(PREDICATES[name])
    container, key = data.draw(st.sampled_from(places(document)))
    container[key] = data.draw(JSON | st.text(max_size=50))
    predicate = parse_statement(around(strict_json.dumps(document))).predicate
    assert outcome(PARSERS[name], predicate) == outcome(PARSERS[name], bytes(predicate))
    assert outcome(PARSERS[name], predicate) == outcome(PARSERS[name], predicate + b" ")


@pytest.mark.parametrize("name", PREDICATES)
def test_the_common_spelling_is_known_as_such(name: str) -> None:
    predicate = parse_statement(around(strict_json.dumps(json.loads(PREDICATES[name])))).predicate
    assert type(predicate) is strict_json.Common


@pytest.mark.parametrize(
    ("predicate", "code"),
    [
        (b'{"a":1,"a":2}', "format.duplicate-key"), (b'{"a":9007199254740992}', "format.number"),
        (b"[]", "format.schema"),
        (b'{"a":"\xff"}', "format.encoding"), (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "format.depth"),
    ],
)  # fmt: skip
def test_a_predicate_is_asked_all_rules_with_its_statement(predicate: bytes, code: str) -> None:
    assert outcome(parse_statement, around(predicate)) == ("refused", code)


@pytest.mark.parametrize("predicate", [b'{ "a":1}', b'{"a":1.0}', b'{"a":"\\u0061"}'])
def test_what_is_not_in_the_common_spelling_is_not_taken_for_it(predicate: bytes) -> None:
    assert type(parse_statement(around(predicate)).predicate) is bytes


# -- requirements ------------------------------------------------------------------------------------------------------

BITS = st.sampled_from(
    [
        "a", "A-b", "c.d", "_", "[x]", "==", "!=", ">=", "<", ">", "~=", "1", "2.0", "1.*", "rc1", ",", " ", "\n",
    ]
)  # fmt: skip


@settings(PROPERTY, max_examples=1000)
@given(st.lists(BITS, min_size=1, max_size=7).map("".join))
def test_any_requirement(written: str) -> None:
    try:
        found = RequirementText(written).bounds
    except ValueError:
        found = None
    try:
        parsed = Requirement(written) if compiled(RequirementText.grammar).fullmatch(written) else None
    except InvalidRequirement:
        parsed = None
    ours = found and (found.project, str(found.versions))
    assert ours == (parsed and (canonicalize_name(parsed.name), str(parsed.specifier)))


# -- names and versions of packages ------------------------------------------------------------------------------------

NUMBERS = st.sampled_from(["0", "1", "2", "10", "00", "01", "18446744073709551616", "1" * 30])
NEAR = st.lists(NUMBERS, min_size=1, max_size=4).map(".".join)
ENDS = st.sampled_from(["", "", "", "", "rc1", ".post1", ".dev0", "+local", ".*", "-1", " "])
VERSIONS_NEAR = st.tuples(NEAR, ENDS).map("".join)
SIGNS = st.sampled_from(["==", "!=", "<=", ">=", "<", ">", "~=", "===", "=", ""])
SPECIFIERS = st.lists(st.tuples(SIGNS, VERSIONS_NEAR).map("".join), max_size=3).flatmap(
    lambda parts: st.sampled_from([",", ", ", " , ", ",,", "  "]).map(lambda between: between.join(parts))
)


def answer(ask: Callable[[], object]) -> object:
    """What a question leads to; None for an error that says that the text is none."""
    try:
        return ask()
    except ValueError:
        return None


@settings(PROPERTY, max_examples=1000)
@given(text=SPECIFIERS, version=VERSIONS_NEAR)
def test_a_set_of_versions_is_what_packaging_takes_it_for(text: str, version: str) -> None:
    theirs = answer(lambda: SpecifierSet(text))
    ours = answer(lambda: packages.Versions(text))
    assert (ours is None) == (theirs is None)
    if isinstance(ours, packages.Versions) and isinstance(theirs, SpecifierSet):
        assert ours.are_all == (len(theirs) == 0)
        assert str(ours) == str(theirs)
        assert answer(lambda: ours.admit(version)) == answer(lambda: theirs.contains(version, prereleases=True))


@settings(PROPERTY, max_examples=500)
@given(text=VERSIONS_NEAR)
def test_a_version_is_spelled_as_packaging_spells_it(text: str) -> None:
    assert answer(lambda: packages.canonical(text)) == answer(lambda: str(PackagingVersion(text)))


@PROPERTY
@given(name=st.text(st.sampled_from("aB9-_. İß"), max_size=12))
def test_a_name_is_normalised_as_packaging_does_it(name: str) -> None:
    assert packages.normalised(name) == canonicalize_name(name)
    assert answer(lambda: packages.project(name)) == answer(lambda: str(canonicalize_name(name, validate=True)))


WORDS = st.text(st.sampled_from("ab2_.A-"), min_size=0, max_size=5)
FILE_NAMES = st.tuples(
    WORDS | st.just("some_thing"), VERSIONS_NEAR, st.sampled_from(["", "", "", "1-", "1a-", "b-"]),
    WORDS | st.sampled_from(["py3", "py2.py3", "cp311"]), WORDS | st.just("none"), WORDS | st.just("any"),
    st.sampled_from([".whl", ".whl", ".whl", ".WHL", ".zip", ""]),
).map(lambda parts: f"{parts[0]}-{parts[1]}-{parts[2]}{parts[3]}-{parts[4]}-{parts[5]}{parts[6]}")  # fmt: skip


def theirs_of(file_name: str) -> packages.WheelName:
    name, version, build, tags = parse_wheel_filename(file_name)
    return packages.WheelName(
        name, str(version), "".join(str(part) for part in build), frozenset(str(tag) for tag in tags)
    )


@settings(PROPERTY, max_examples=1000)
@given(file_name=FILE_NAMES)
def test_a_wheels_file_name_says_what_packaging_reads_in_it(file_name: str) -> None:
    assert answer(lambda: packages.wheel_name(file_name)) == answer(lambda: theirs_of(file_name))


@settings(PROPERTY, max_examples=1000)
@given(parts=st.lists(WORDS | st.sampled_from(["py3", "py2.py3", "none", "any", "\u0130"]), min_size=2, max_size=4))
def test_tags_are_those_that_packaging_reads(parts: list[str]) -> None:
    text = "-".join(parts)
    assert answer(lambda: packages.tags(text)) == answer(lambda: frozenset(map(str, parse_tag(text))))


@pytest.mark.parametrize("word", ["a", "A"])
def test_a_set_of_tags_stands_for_no_more_than_can_be_counted(word: str) -> None:
    """In either reading: the plain one, and packaging's."""
    few, many = ("-".join([".".join(f"{word}{n}" for n in range(size))] * 3) for size in (10, 200))
    assert len(packages.tags(few)) == packages.MAX_TAGS
    assert len(packages.wheel_name(f"a-1.0-{few}.whl").tags) == packages.MAX_TAGS
    for text in (many, f"{few}.b"):
        with pytest.raises(ValueError, match="tags"):
            packages.tags(text)
        with pytest.raises(ValueError, match="tags"):
            packages.wheel_name(f"a-1.0-{text}.whl")


def test_the_common_spellings_need_no_packaging() -> None:
    code = (
        "import sys\nfrom verifier.formats import packages\n"
        "assert packages.Versions('>=1.0,<2').admit('1.5.0') and packages.canonical('1.0') == '1.0'\n"
        "assert packages.wheel_name('a_b-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl')\n"
        "assert packages.project('A_b') == 'a-b' and packages.tags('py2.py3-none-any') >= {'py3-none-any'}\n"
        "assert not [name for name in sys.modules if name.startswith('packaging')]\n"
        "assert packages.canonical('1.0-rc1') == '1.0rc1' and 'packaging.version' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
