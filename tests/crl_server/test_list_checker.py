"""The checker of what is to be published: every kind of bad list is refused, whoever made it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crl_server.lists import list_checker
from crl_server.lists.list_checker import ListChecker, Occasion
from crl_server.service import Authority
from crl_server.trust.signing import SigningKey
from tests.crl_server.deployments import DAY, HOUR, NOW, digest, made, revoke
from tests.crl_server.takebacks import add_rule
from verifier.errors import Refused
from verifier.formats import dsse
from verifier.formats.revocations import EMPTY_RULES, AuditHead, parse_head, prefix_of, sha256_hex
from verifier.formats.text import Hex, Time
from verifier.signatures.private_keys import sign_envelope

Document = dict[str, Any]


@dataclass
class Desk:
    """The list that was published last, and the next one, which is signed once it has been spoiled."""

    authority: Authority
    key: SigningKey
    occasion: Occasion
    head: Document
    files: dict[Hex, bytes] = field(default_factory=dict)
    payload_type: str = dsse.HEAD
    keyid: str = ""

    def read(self, kind: str, name: Hex) -> bytes:
        return self.files.get(name) or self.authority.layout.list_file(kind, name).read_bytes()

    def envelope(self) -> bytes:
        payload = json.dumps(self.head).encode()
        return dsse.dump_envelope(sign_envelope(self.payload_type, payload, (self.keyid, self.key)))

    def segment(self, place: int, data: bytes, **changes: Any) -> None:
        """Another content for a segment."""
        self.files[sha256_hex(data)] = data
        self.head["segments"][place] |= {"sha256": sha256_hex(data), "count": len(data) // 16} | changes

    def rules(self, *rules: Document) -> None:
        data = json.dumps({"v": 1, "rules": rules}).encode()
        self.files[sha256_hex(data)] = data
        self.head["rules"] = {"sha256": sha256_hex(data), "count": len(rules)}

    def because(self, **changes: Any) -> Desk:
        self.occasion = replace(self.occasion, **changes)
        return self


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Three events, one of which added a rule."""
    new = made(tmp_path_factory.mktemp("checker") / "acme")
    revoke(new, 1, 2)
    add_rule(new)
    revoke(new, 3)
    yield new
    new.close()


@pytest.fixture
def desk(authority: Authority) -> Desk:
    payload = dsse.parse_envelope(authority.layout.head.read_bytes()).unverified_payload
    trust = authority.repository.trust()
    occasion = Occasion(
        policy=trust.policy,
        checkpoint=trust.checkpoint,
        root=trust.root_version,
        targets=trust.targets_version,
        life=timedelta(hours=24),
        now=NOW,
        before=parse_head(payload),
        log_then=parse_head(payload).audit,
    )
    key = SigningKey.read(authority.layout.online / "head.pem")
    return Desk(authority, key, occasion, json.loads(payload))


def times(issued: datetime, life: timedelta = DAY) -> Document:
    return {"issued": Time.of(issued), "expires": Time.of(issued + life)}


def entries(*labels: object) -> bytes:
    return b"".join(sorted(prefix_of(digest(label)) for label in labels))


RULE = {"id": "R1", "kind": "signer", "match": {"principal": "team-a"}, "reason": "key-compromise", "except": []}
BAD: dict[str, tuple[Callable[[Desk], object], str]] = {
    # envelope
    "another type": (lambda d: setattr(d, "payload_type", dsse.IN_TOTO), "an envelope of type"),
    "a signature with a key id": (lambda d: setattr(d, "keyid", d.key.public.id), "with a key id"),
    "a stranger's key": (lambda d: setattr(d, "key", SigningKey.generate()), "a signature by"),
    "a key whose time is over": (lambda d: d.because(now=NOW + 366 * DAY), "a signature by"),
    # links
    "another deployment": (lambda d: d.head.update(deployment="globex"), "deployment globex"),
    "another epoch": (lambda d: d.head.update(epoch=2), "epoch 2"),
    "another root": (lambda d: d.head["trust"].update(root=2), "root version 2"),
    "another policy": (lambda d: d.head["trust"].update(targets=9), "policy's version 9"),
    # ages
    "issued too late": (lambda d: d.head.update(times(NOW + 6 * HOUR / 60)), "issued at"),
    "issued too early": (lambda d: d.because(now=NOW + 6 * HOUR / 60), "issued at"),
    "valid for longer": (lambda d: d.head.update(times(NOW, 2 * DAY)), "expires at"),
    "valid for less": (lambda d: d.head.update(times(NOW, HOUR)), "expires at"),
    # order
    "a lower number": (lambda d: d.head.update(seq=2, segments=d.head["segments"][:-1]), "epoch and seq"),
    "issued before the last one": (lambda d: d.head.update(times(NOW - HOUR / 60)), "time of issue"),
    "a shorter audit log": (lambda d: d.head["audit"].update(count=1), "audit log 1"),
    "another audit log": (lambda d: d.head["audit"].update(sha256="0" * 64), "another audit log"),
    "an audit log that was written anew": (
        lambda d: d.because(log_then=AuditHead(count=1, sha256=Hex("0" * 64))),
        "another audit log than",
    ),
    "an audit log that was cut off": (lambda d: d.because(log_then=None), "another audit log than"),
    "an entry gone": (lambda d: d.segment(0, entries(1)), "are gone"),
    "an entry exchanged": (lambda d: d.segment(0, entries(1, 9)), "are gone"),
    "a rule gone": (lambda d: d.rules(), "the rule R1 is gone"),
    "a rule changed": (lambda d: d.rules(RULE | {"reason": "mistake"}), "the rule R1 is gone"),
    "another rule instead": (lambda d: d.rules(RULE | {"id": "R2"}), "the rule R1 is gone"),
    # content
    "a segment left out": (lambda d: d.head["segments"].pop(0), "a segment from"),
    "a gap": (lambda d: d.head["segments"][0].update({"from": 2}), "a segment from 2"),
    "a segment backwards": (lambda d: d.head["segments"][0].update({"to": 0}), "a segment from 1 to 0"),
    "segments that do not reach the head": (lambda d: d.head.update(seq=9), "segments up to 3"),
    "a segment across a prepared checkpoint": (
        lambda d: d.because(prepared=2).head.update(segments=[d.head["segments"][0] | {"to": 3}]),
        "across the prepared checkpoint at 2",
    ),
    "another count": (lambda d: d.head["segments"][0].update(count=7), "a segment of 2 entries"),
    "entries out of order": (
        lambda d: d.segment(0, entries(1, 2)[16:] + entries(1, 2)[:16]),
        "out of order",
    ),
    "an entry twice": (lambda d: d.segment(0, entries(1)[:16] * 2 + entries(2)), "with an entry twice"),
    "half an entry": (lambda d: d.segment(0, entries(1, 2)[:-1], count=2), "ends within an entry"),
    "a damaged segment": (
        lambda d: d.files.update({d.head["segments"][0]["sha256"]: entries(1, 4)}),
        "another content than its name says (segments)",
    ),
    "damaged rules": (
        lambda d: d.files.update({d.head["rules"]["sha256"]: EMPTY_RULES}),
        "another content than its name says (rules)",
    ),
    "another number of rules": (lambda d: d.head["rules"].update(count=2), "1 rules"),
    "malformed rules": (lambda d: d.rules(RULE, RULE), "format.schema"),
    "a damaged base": (
        lambda d: d.files.update({d.occasion.checkpoint.root: b"x" * 16}),
        "another content than its name says",  # the empty event's segment is the same file
    ),
    "an unknown field": (lambda d: d.head.update(unless="Tuesday"), "format.schema"),
    "a tail beyond its cap": (lambda d: d.head["segments"][0].update(count=100_000), "a tail beyond its caps"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lists_are_refused(desk: Desk, case: str) -> None:
    spoil, words = BAD[case]
    spoil(desk)
    with pytest.raises(Refused) as caught:
        ListChecker(desk.read).check(desk.envelope(), desk.occasion)
    assert caught.value.code == "server.lint"
    assert words in caught.value.found


def test_a_signature_over_something_else_is_refused(desk: Desk) -> None:
    good = dsse.parse_envelope(desk.envelope())
    desk.head["audit"]["count"] += 1
    other = json.dumps(desk.head).encode()
    spoiled = dsse.Envelope(payload_type=dsse.HEAD, unverified_payload=other, signatures=good.signatures)
    with pytest.raises(Refused) as caught:
        ListChecker(desk.read).check(dsse.dump_envelope(spoiled), desk.occasion)
    assert caught.value.code == "server.lint"


def test_what_is_right_passes_again_and_again(desk: Desk) -> None:
    checker = ListChecker(desk.read)
    for _ in range(2):
        assert checker.check(desk.envelope(), desk.occasion).seq == 3
    merged = entries(1, 2, 3)
    desk.head["segments"] = [{"from": 1, "to": 3}]
    desk.segment(0, merged)
    assert checker.check(desk.envelope(), desk.occasion).seq == 3
    assert ListChecker(desk.read).check(desk.envelope(), replace(desk.occasion, before=None)).seq == 3


def test_the_checker_shares_nothing_with_the_writer_but_the_formats() -> None:
    names = {
        node.module
        for node in ast.walk(ast.parse(Path(list_checker.__file__).read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    ours = {name for name in names if name.split(".")[0] in ("crl_server", "verifier")}
    assert all(
        name.startswith("verifier.formats") or name in ("verifier.errors", "verifier.signatures.keys") for name in ours
    )
