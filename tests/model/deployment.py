"""A deployment in memory: the model's books, and lists that are really signed and made by the service's pure rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ed25519

from crl_server.lists import rules
from crl_server.lists.checkpoints import propose
from crl_server.lists.rules import Span
from tests.model import books
from tests.model.books import Books
from tests.verifier.formats.vectors import VECTORS
from verifier.formats import dsse
from verifier.formats.policy import Policy, policy_of
from verifier.formats.revocations import (
    EMPTY_RULES,
    EMPTY_SET,
    AuditHead,
    Checkpoint,
    Head,
    Rule,
    Rules,
    RulesRef,
    SegmentRef,
    TrustMinimum,
    dump,
    dump_set_file,
    parse_rules,
    prefix_of,
    sha256_hex,
)
from verifier.formats.text import Digest, Hex, Name, Time
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import FileKind, apply_head
from verifier.signatures.private_keys import PrivateKey, sign_envelope

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIFE = timedelta(hours=24)
ARTIFACTS = range(6)
NO_LOG = AuditHead(count=0, sha256=Hex("0" * 64))
TEMPLATE = next(json.loads(vector.valid) for vector in VECTORS if vector.format == "policy")


def signer_of(artifact: int) -> str:
    return "a" if artifact % 2 else "b"


def digest(artifact: int) -> Hex:
    return sha256_hex(b"artifact %d" % artifact)


def head_key(number: int) -> PrivateKey:
    return PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number % 256]) * 32))


def policy_with(key: PrivateKey) -> Policy:
    """A policy that names one head key."""
    entry = key.public.entry
    return policy_of(
        TEMPLATE
        | {
            "keys": {key.public.id: {"alg": entry.alg, "spki": entry.spki}},
            "head_keys": [{"key": key.public.id, "not_after": Time.of(START + 1000 * LIFE)}],
            "principals": {},
            "plugins": {},
        }
    )


@dataclass(frozen=True)
class Trust:
    """What the offline keys say, as hosts verify it; ``number`` is its place in the history of trust."""

    policy: Policy
    checkpoint: Checkpoint
    number: int
    root_version: int = 1

    @property
    def targets_version(self) -> int:
        return self.number


class View(NamedTuple):
    """What a server, or whoever stands in its place, shows to a host."""

    envelope: bytes
    files: Callable[[FileKind, Hex], bytes]
    trust: Trust


class Deployment:
    """The service, its offline keys, and everything it ever published.

    Attributes:
        books: what is committed.
        trusts: every trust that was ever published.
        freed: by epoch, what the two signers of its checkpoint saw leave the list, and the last event they judged.
        cuts: the epochs that cut the online tail off.
    """

    def __init__(self) -> None:
        self.books = Books()
        self.now = START
        self.keys = [head_key(1)]
        self.store: dict[tuple[str, str], bytes] = {}
        base, rules_file = self.keep("bases", EMPTY_SET), self.keep("rules", EMPTY_RULES)
        first = rules.first_checkpoint(Name("acme"))
        assert (first.root, first.rules) == (base, rules_file)
        self.trusts = [Trust(policy_with(self.keys[0]), first, 1)]
        self.freed: dict[int, tuple[frozenset[int], int]] = {}
        self._shown: tuple[frozenset[int], int] = frozenset(), 0
        self.cuts: set[int] = set()
        self.envelopes: list[bytes] = []
        self._published: RevocationList | None = None
        self.publish()

    # -- the online service --------------------------------------------------------------------------------------------

    @property
    def trust(self) -> Trust:
        return self.trusts[-1]

    @property
    def current(self) -> RevocationList:
        """What is published."""
        assert self._published is not None
        return self._published

    @property
    def view(self) -> View:
        return View(self.current.envelope, self.files, self.trust)

    def files(self, kind: FileKind, name: Hex) -> bytes:
        return self.store[kind, name]

    def keep(self, kind: str, data: bytes) -> Hex:
        name = sha256_hex(data)
        self.store[kind, name] = data
        return name

    def tick(self) -> None:
        self.now += timedelta(minutes=1)

    def publish(self, *, merge: bool = False) -> None:
        """Sign a head over everything committed, and judge it as a host would that has the one before.

        Args:
            merge: merge all neighbours that may be merged, not only as many as the service would.
        """
        checkpoint = self.trust.checkpoint
        old = self._published
        known = old.head.segments if old is not None and old.head.epoch == checkpoint.epoch else ()
        spans = [Span(ref.first, ref.last, ref.count) for ref in known]
        done = spans[-1].last if spans else checkpoint.through
        count = len(self._events(done + 1, self.books.seq))
        prepared = self.books.plan.through if self.books.plan else 0
        planned = rules.grow(spans, checkpoint.through, max(self.books.seq, checkpoint.through), count, prepared)
        if merge:
            planned = _merged(planned, prepared)
        head = rules.make_head(
            checkpoint,
            issued=Time.of(self.now),
            life=LIFE,
            trust=TrustMinimum(root=1, targets=self.trust.number),
            segments=[self._segment(span) for span in planned],
            rules=self._rules_ref(),
            log=NO_LOG,
        )
        envelope = self.sign(head, self.keys[-1])
        self._published = apply_head(old, envelope, self.files, self.trust, self.now)
        self.envelopes.append(envelope)

    def sign(self, head: Head, key: PrivateKey) -> bytes:
        return dsse.dump_envelope(sign_envelope(dsse.HEAD, dump(head), ("", key)))

    def rules_file(self, named: Iterable[tuple[int, books.Rule]]) -> bytes:
        return dump(Rules(v=1, rules=tuple(_rule(number, rule) for number, rule in sorted(named))))

    def _rules_ref(self) -> RulesRef:
        name = self.keep("rules", self.rules_file(self.books.rules.items()))
        return RulesRef(sha256=name, count=len(self.books.rules))

    def _events(self, first: int, last: int) -> list[int]:
        return [artifact for artifact, seq in self.books.listed.items() if first <= seq <= last]

    def _segment(self, span: Span) -> SegmentRef:
        data = dump_set_file(prefix_of(digest(artifact)) for artifact in self._events(span.first, span.last))
        name = self.keep("segments", data)
        return SegmentRef(first=span.first, last=span.last, count=len(data) // 16, sha256=name)

    # -- the offline keys ----------------------------------------------------------------------------------------------

    def prepare(self, *, cut: bool = False) -> None:
        """Everything committed is published first: the checkpoint takes in what hosts can have seen, and no more."""
        self.publish()
        self.books = books.prepare(self.books, cut=cut)
        plan = self.books.plan
        assert plan is not None
        taken_back = [digest(artifact) for artifact in plan.taken_back]
        after = parse_rules(self.rules_file(plan.rules.items()))
        self.proposal = propose(self.current, taken_back, after, NO_LOG, cut=plan.cut)
        denied = {artifact for artifact in ARTIFACTS if self.books.denied(artifact, signer_of(artifact))}
        still = {artifact for artifact in denied if _denied_by(plan, self.books, artifact)}
        self._shown = frozenset(denied - still), plan.through

    def publish_checkpoint(self) -> None:
        """Both offline keys sign what was prepared, and it is put in force together with a head."""
        if self.books.plan is None:
            raise books.Refusal
        checkpoint = self.proposal.checkpoint
        self.keep("bases", bytes(self.proposal.base.data))
        self.keep("rules", self.proposal.rules)
        self.freed[checkpoint.epoch] = self._shown
        if self.books.plan.cut:
            self.cuts.add(checkpoint.epoch)
        self.trusts.append(replace(self.trust, checkpoint=checkpoint, number=self.trust.number + 1))
        self.books = books.publish(self.books)
        self.publish()

    def recover(self) -> None:
        """After the theft of the head key: a new key in the policy, and a checkpoint that cuts the tail off."""
        self.keys.append(head_key(len(self.keys) + 1))
        policy = policy_with(self.keys[-1])
        self.trusts.append(replace(self.trust, policy=policy, number=self.trust.number + 1))
        self.prepare(cut=True)
        self.publish_checkpoint()


def _merged(spans: Sequence[Span], prepared: int) -> tuple[Span, ...]:
    """The earlier spans as few as can be: none reaches across a prepared checkpoint, and what is new stands alone."""
    merged: list[Span] = []
    for span in spans[:-1]:
        if merged and merged[-1].last != prepared:
            before = merged.pop()
            merged.append(Span(before.first, span.last, before.entries + span.entries))
        else:
            merged.append(span)
    return (*merged, *spans[-1:])


def _rule(number: int, rule: books.Rule) -> Rule:
    return Rule(
        id=f"R{number}",
        kind="signer",
        match={"principal": rule.signer},
        reason="malicious",
        excepted=tuple(sorted(Digest(f"sha256:{digest(artifact)}") for artifact in rule.excepted)),
    )


def _denied_by(plan: books.Plan, known: Books, artifact: int) -> bool:
    listed = artifact in known.listed and artifact not in plan.taken_back
    return listed or any(rule.denies(artifact, signer_of(artifact)) for rule in plan.rules.values())
