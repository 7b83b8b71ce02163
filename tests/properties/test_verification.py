"""What holds for any input: nothing verifies as something else, and whatever fails, fails as a registered refusal."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.simulator import EVERYTHING, NOW, Claims, Simulator
from verifier.codes import CODES
from verifier.errors import Refused
from verifier.formats.policy import TIERS
from verifier.formats.statement import CERTIFICATION_FIELD
from verifier.formats.strict_json import dumps
from verifier.judging.verify import VerifiedPlugin, verify

SIM = Simulator()
WHEEL = SIM.wheel()
CLAIMS = SIM.claims(WHEEL)
SET = CLAIMS.sign()
GROUND = SIM.ground()
CORE = structs.replace(EVERYTHING, tier="core")
HONEST = verify(WHEEL.data, WHEEL.file_name, SET, GROUND, NOW, EVERYTHING)

MESSAGE = 4000
"""No message is longer than a screen or two, whatever it quotes."""

PROPERTY = settings(
    deadline=None, derandomize=True, database=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
"""Any JSON value; what is interesting is that it stands where another was expected."""


def judge(wheel: bytes, attestations: bytes | None, request: Any = EVERYTHING) -> VerifiedPlugin | Refused:
    """What comes of it; whatever is raised besides a registered refusal fails the test."""
    try:
        return verify(wheel, WHEEL.file_name, attestations, GROUND, NOW, request)
    except Refused as error:
        assert error.code in CODES
        assert str(error).replace("\n", "").isprintable()
        assert len(str(error)) < MESSAGE
        return error


def facts_of(found: VerifiedPlugin) -> tuple[object, ...]:
    return (found.artifact_digest, found.tier, found.statements, found.signers, found.manifest, found.snapshot.files)


def changed(data: bytes, at: int, difference: int) -> bytes:
    position = at % len(data)
    return data[:position] + bytes([data[position] ^ difference]) + data[position + 1 :]


@PROPERTY
@given(at=st.integers(0, len(WHEEL.data) - 1), difference=st.integers(1, 255))
def test_a_wheel_with_one_byte_changed_is_another_artifact(at: int, difference: int) -> None:
    found = judge(changed(WHEEL.data, at, difference), SET)
    assert isinstance(found, Refused)
    assert found.code == "subject.digest"


@PROPERTY
@given(at=st.integers(0, len(WHEEL.data) - 1), difference=st.integers(1, 255))
def test_a_wheel_with_one_byte_changed_and_signed_again_holds_the_same_files_or_is_refused(
    at: int, difference: int
) -> None:
    wheel = replace(WHEEL, data=changed(WHEEL.data, at, difference))
    found = judge(wheel.data, SIM.attest(wheel))
    if isinstance(found, Refused):
        assert found.code.startswith("wheel."), str(found)
    else:  # some bits of a deflate stream say nothing
        assert found.snapshot.files == HONEST.snapshot.files
        assert found.artifact_digest == wheel.digest


@PROPERTY
@given(at=st.integers(0, len(SET) - 1), difference=st.integers(1, 255))
def test_a_set_with_one_byte_changed_says_the_same_or_is_refused(at: int, difference: int) -> None:
    found = judge(WHEEL.data, changed(SET, at, difference), CORE)
    if isinstance(found, Refused):
        assert found.code != "internal.unexpected", str(found)
    else:
        assert facts_of(found) == facts_of(HONEST)


@PROPERTY
@given(at=st.integers(0, len(SET) - 1), difference=st.integers(1, 255))
def test_a_set_with_one_byte_changed_never_says_more(at: int, difference: int) -> None:
    found = judge(WHEEL.data, changed(SET, at, difference))
    if not isinstance(found, Refused):
        assert found.statements.items() <= HONEST.statements.items()
        assert found.tier == "core" or len(found.statements) < len(HONEST.statements)


@PROPERTY
@given(start=st.integers(0, len(SET)), length=st.integers(1, len(SET)), filling=st.binary(max_size=40))
def test_a_set_with_a_piece_replaced_never_says_more(start: int, length: int, filling: bytes) -> None:
    found = judge(WHEEL.data, SET[:start] + filling + SET[start + length :])
    if not isinstance(found, Refused):
        assert found.statements.items() <= HONEST.statements.items()


@PROPERTY
@given(data=st.binary(max_size=400))
@example(b"")
@example(b"PK\x05\x06" + bytes(18))
def test_any_bytes_for_a_wheel_are_refused(data: bytes) -> None:
    assert isinstance(judge(data, SET), Refused)
    wheel = replace(WHEEL, data=data)
    found = judge(data, SIM.attest(wheel))
    assert isinstance(found, Refused)
    assert found.code.startswith("wheel.")


@PROPERTY
@given(data=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode() + b"\n"))
@example(b"\n")
@example(b"{}\n")
@example(b"null\n")
def test_any_bytes_for_a_set_are_refused(data: bytes) -> None:
    found = judge(WHEEL.data, data)
    assert isinstance(found, Refused)
    assert found.code.startswith(("format.", "set."))


@PROPERTY
@given(document=JSON)
def test_any_json_for_a_bundle_is_refused(document: object) -> None:
    found = judge(WHEEL.data, dumps(document) + b"\n")
    assert isinstance(found, Refused)
    assert found.code.startswith("format.")


def test_leaving_statements_out_never_helps() -> None:
    lines = SET.splitlines(keepends=True)
    for size in range(len(lines) + 1):
        for kept in itertools.combinations(lines, size):
            found = judge(WHEEL.data, b"".join(kept))
            if len(kept) == len(lines):
                assert facts_of(found) == facts_of(HONEST)  # type: ignore[arg-type]
            elif len(kept) == 3 and lines[3] not in kept:
                assert isinstance(found, VerifiedPlugin)
                assert found.tier == "untrusted"
            else:
                assert isinstance(found, Refused)


def pool() -> list[bytes]:
    """Statements that are each properly signed: the honest ones first, then others that should not count."""
    lines = SET.splitlines(keepends=True)
    for title in CLAIMS:
        for person in ("stranger", "other-builder", "other-owner", "other-certifier"):
            claim = copy.copy(CLAIMS[title])
            claim.signer = SIM.people[person]
            lines.append(claim.sign())
    other = SIM.claims(SIM.wheel("other-plugin"))
    older = SIM.claims(SIM.wheel(version="0.9"))
    return lines + other.sign().splitlines(keepends=True) + older.sign().splitlines(keepends=True)


POOL = pool()


@PROPERTY
@given(chosen=st.lists(st.integers(0, len(POOL) - 1), max_size=12) | st.permutations(range(len(POOL) - 4)))
@example([0, 1, 2, 3, 4, 5, 6, 7])
def test_whatever_is_laid_beside_a_wheel_only_its_own_statements_count(chosen: list[int]) -> None:
    found = judge(WHEEL.data, b"".join(POOL[index] for index in chosen))
    own = {index for index in chosen if index < 4}
    if isinstance(found, Refused):
        assert found.code != "internal.unexpected"
    else:
        assert found.statements.items() <= HONEST.statements.items()
        assert len(found.statements) == len(own)
        assert TIERS.index(found.tier) <= TIERS.index(HONEST.tier)
        assert (found.tier == HONEST.tier) == (own == {0, 1, 2, 3})


def places(document: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside plain JSON values, the whole left out."""
    found: list[tuple[Any, ...]] = []
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        found += [(*path, key), *places(value, (*path, key))]
    return found


def edited(document: Any, path: tuple[Any, ...], value: object) -> Any:
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


TEXTS = st.sampled_from(
    [
        "",
        "sha256:" + "0" * 64,
        "2026-03-01T12:00:00Z",
        "9999-12-31T23:59:59Z",
        "1.0",
        "x" * 1001,
        "\x1b[31m",
        "é",
        "1e9",
    ]
)
PLACES = [
    (title, path) for title in CLAIMS for path in places(CLAIMS[title].predicate) if path[0] != "inputAttestations"
]


@settings(PROPERTY, max_examples=900)
@given(place=st.sampled_from(PLACES), value=JSON | TEXTS)
@example(("certification", (CERTIFICATION_FIELD, "tier")), "vetted")
def test_whatever_the_rightful_signers_sign_is_judged_or_refused_with_words(
    place: tuple[str, tuple[Any, ...]], value: object
) -> None:
    title, path = place
    claims = Claims({name: copy.copy(claim) for name, claim in CLAIMS.items()})
    for claim in claims.values():
        claim.predicate = copy.deepcopy(claim.predicate)
    claims[title].predicate = edited(claims[title].predicate, path, value)
    if place != ("manifest", ("sbom_digest",)):
        claims.pin()
    found = judge(WHEEL.data, claims.sign())
    if isinstance(found, Refused):
        assert found.code != "internal.unexpected", f"{place} = {value!r}: {found}"
    else:
        assert found.artifact_digest == WHEEL.digest


@settings(PROPERTY, max_examples=600)
@given(path=st.sampled_from(places(SIM.rules)), value=JSON | TEXTS)
def test_whatever_stands_in_a_policy_is_judged_or_refused_with_words(path: tuple[Any, ...], value: object) -> None:
    sim = copy.copy(SIM)
    sim.repository = copy.deepcopy(SIM.repository)
    sim.repository.publish_policy(NOW, dumps(edited(SIM.rules, path, value)))
    try:
        found = sim.verify(WHEEL, SET)
    except Refused as error:
        assert error.code in CODES
        assert error.code != "internal.unexpected", f"{path} = {value!r}: {error}"
    else:
        assert found.statements.items() <= HONEST.statements.items()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[1::5])
def test_the_order_of_statements_says_nothing(order: tuple[int, ...]) -> None:
    lines = SET.splitlines(keepends=True)
    assert facts_of(judge(WHEEL.data, b"".join(lines[index] for index in order))) == facts_of(HONEST)  # type: ignore[arg-type]
