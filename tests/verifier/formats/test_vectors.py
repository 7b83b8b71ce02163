"""Every vector of tests/vectors/formats is refused for its reason and at its place, or accepted."""

from __future__ import annotations

import pytest

from tests.verifier.formats.vectors import FOLDER, PARSERS, VECTORS, Vector
from verifier.codes import CODES
from verifier.errors import Refused

FIELDS = {"name", "input", "base64", "parts", "replace", "limit", "code", "place", "why", "origin"}
SOURCES = {"input", "base64", "parts", "replace"}
ACCEPTED = [vector for vector in VECTORS if "code" not in vector.fields]
REFUSED = [vector for vector in VECTORS if "code" in vector.fields]


def identity(vector: Vector) -> str:
    return f"{vector.format}: {vector.fields['name']}"


@pytest.mark.parametrize("vector", REFUSED, ids=identity)
def test_refused(vector: Vector) -> None:
    assert not vector.valid or vector.data != vector.valid.encode()
    with pytest.raises(Refused) as caught:
        vector.parse()
    error = caught.value
    assert error.code == vector.fields["code"], str(error)
    place = vector.fields.get("place", "")
    assert error.what.endswith(f" {place}") if place.startswith("$") else place in error.what, str(error)
    assert error.todo
    assert str(error).replace("\n", "").isprintable()
    assert len(str(error)) < 2000


@pytest.mark.parametrize("vector", ACCEPTED, ids=identity)
def test_accepted(vector: Vector) -> None:
    vector.parse()


def test_every_format_has_vectors_of_both_kinds() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(PARSERS)
    assert {vector.format for vector in REFUSED} == {vector.format for vector in ACCEPTED} == set(PARSERS)
    assert len(REFUSED) >= 60


def test_every_vector_is_whole_and_named_once() -> None:
    for vector in VECTORS:
        fields = set(vector.fields)
        assert fields <= FIELDS, identity(vector)
        assert len(fields & SOURCES) == 1, identity(vector)
        assert all(vector.fields.get(field) for field in ("name", "why", "origin")), identity(vector)
        assert vector.fields.get("code", "format.syntax") in CODES, identity(vector)
    names = [identity(vector) for vector in VECTORS]
    assert sorted(set(names)) == sorted(names)
