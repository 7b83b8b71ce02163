"""The audit log: what was edited, moved, removed, cut or rewritten is noticed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from crl_server.records.audit import EMPTY, MAX_SUBJECT, Act, append, parse_entry, verify_log
from crl_server.revocation.revoking import MAX_NOTE
from verifier.errors import FormatError, Refused
from verifier.formats.revocations import AuditHead, sha256_hex
from verifier.formats.text import Hex

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def written(count: int, subject: str = "sha256:9f86") -> tuple[list[bytes], list[AuditHead]]:
    """A log of ``count`` entries, and its state after each, the empty one first."""
    lines, states = [], [EMPTY]
    for number in range(count):
        act = Act("token:ci", "artifact.revoke", subject, {"number": number, "reason": "malicious"})
        line, state = append(states[-1], act, NOW)
        lines.append(line)
        states.append(state)
    return lines, states


def edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"malicious", b"mistake"), *lines[3:]]


def last_edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1].replace(b"malicious", b"mistake")]


def removed(lines: list[bytes]) -> list[bytes]:
    return lines[:2] + lines[3:]


def swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def repeated(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[1], *lines[2:]]


def beheaded(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def cut(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def emptied(_: list[bytes]) -> list[bytes]:
    return []


def rewritten(_: list[bytes]) -> list[bytes]:
    return written(5, subject="sha256:0000")[0]


def spaced(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b",", b", "), *lines[1:]]


def not_an_entry(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"{}"]


@pytest.mark.parametrize(
    "attack",
    [edited, last_edited, removed, swapped, repeated, beheaded, cut, emptied, rewritten, spaced, not_an_entry],
)
def test_a_log_that_was_tampered_with_is_refused(attack: Callable[[list[bytes]], list[bytes]]) -> None:
    lines, states = written(5)
    with pytest.raises(Refused) as caught:
        verify_log(attack(lines), states[-1])
    assert caught.value.code == "audit.chain"


def test_the_place_of_the_damage_is_named() -> None:
    lines, states = written(5)
    with pytest.raises(Refused, match="entry 3"):
        verify_log(edited(lines), states[-1])


def test_an_anchor_of_another_log_at_the_start_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        verify_log(written(2)[0], AuditHead(count=0, sha256=Hex("f" * 64)))
    assert caught.value.code == "audit.chain"


def test_an_entry_that_states_another_place_is_refused() -> None:
    lines, states = written(2)
    wrong = lines[1].replace(b'"index":1', b'"index":7')  # and the chain goes on from it as if all were well
    line, state = append(AuditHead(count=2, sha256=sha256_hex(wrong)), Act("server", "list.publish", "", {}), NOW)
    with pytest.raises(Refused, match="entry 1") as caught:
        verify_log([lines[0], wrong, line], state)
    assert caught.value.code == "audit.chain"
    assert states[1].sha256 == sha256_hex(lines[0])


@pytest.mark.parametrize("anchored", [0, 1, 4, 5])
def test_a_whole_log_verifies_from_any_anchor_it_has_passed(anchored: int) -> None:
    lines, states = written(5)
    assert verify_log(lines, states[anchored]) == states[-1]


def test_entries_are_read_as_they_were_written() -> None:
    line, state = append(
        EMPTY, Act("local:ann", "token.create", "ci", {"roles": ["publisher"], "a": {"z": 1, "b": 2}}), NOW
    )
    entry = parse_entry(line)
    assert (entry.actor, entry.action, entry.subject, entry.index) == ("local:ann", "token.create", "ci", 0)
    assert b'"detail":{"a":{"b":2,"z":1},"roles":["publisher"]}' in line
    assert state.count == 1


@pytest.mark.parametrize(
    ("detail", "code"),
    [({"note": "x" * 13_000}, "format.too-large"), ({"n": 2**60}, "format.number")],
)
def test_what_could_not_be_read_back_is_not_written(detail: dict[str, Any], code: str) -> None:
    with pytest.raises(FormatError) as caught:
        append(EMPTY, Act("server", "list.publish", "", detail), NOW)
    assert caught.value.code == code


@pytest.mark.parametrize("letter", ["\U0001f512", "\n", '"'])
def test_the_longest_note_fits_beside_the_longest_match(letter: str) -> None:
    match = {"purl": "pkg:pypi/" + "x" * 491, "range": ",".join([">=1.0"] * 33)}
    detail = {"id": 9_999, "by": "oidc:" + "x" * 195, "note": letter * MAX_NOTE, "match": match}
    line, _ = append(EMPTY, Act("oidc:" + "y" * 195, "reinstatement.approve", letter * MAX_SUBJECT, detail), NOW)
    assert parse_entry(line).detail["note"] == letter * MAX_NOTE


def test_a_long_subject_is_cut() -> None:
    line, _ = append(EMPTY, Act("anonymous", "access.denied", "x" * 5000, {}), NOW)
    assert len(parse_entry(line).subject) == 500
