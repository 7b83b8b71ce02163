"""The revocation list: head, segments, checkpoint, set files and standing rules.

A *set file* and a *segment* are the same thing: sorted, unique 16-byte prefixes of sha256 digests, concatenated. The
prefix can only block too much; to hit somebody else's artifact takes a second preimage on 128 bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.strict_json import Document, dumps, parse
from verifier.formats.text import PLAIN, Digest, Hex, Name, Time

PREFIX = 16
"""Bytes of a sha256 digest that a list keeps."""
MAX_HEAD = 256 * 1024
"""Size cap of a head's payload in bytes."""
MAX_CHECKPOINT = 16 * 1024 * 1024
"""Size cap of a checkpoint in bytes: it names every entry it removes."""
MAX_RULES = 4 * 1024 * 1024
"""Size cap of the rules file in bytes."""
MAX_RULE_COUNT = 10_000
"""How many standing rules may be in force."""
MAX_REMOVED_RULES = 100_000
"""How many rules a checkpoint may name as removed."""
MAX_TAIL = 100_000
"""How many entries all segments of a head may hold together."""
MAX_SEGMENTS = 1_000
"""How many segments a head may name."""
MAX_BASE = 512 * 1024 * 1024
"""Size cap of a base set file in bytes (32 million entries)."""

Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Epoch = Annotated[int, Meta(ge=1, le=2**31)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
RuleId = Annotated[str, Meta(pattern=r"\AR[1-9][0-9]{0,11}\Z")]


class TrustMinimum(Document, frozen=True, kw_only=True):
    """The versions of root and targets metadata that a client must have before it applies the head."""

    root: Annotated[int, Meta(ge=1, le=2**31)]
    targets: Annotated[int, Meta(ge=1, le=2**31)]


class SegmentRef(Document, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """One segment of the tail: the events it covers, how many entries it holds, and its file's sha256."""

    first: Seq
    last: Seq
    count: Annotated[int, Meta(ge=0, le=MAX_TAIL)]
    sha256: Hex


class RulesRef(Document, frozen=True, kw_only=True):
    """The standing rules in force: the file's sha256 and the number of rules."""

    sha256: Hex
    count: Annotated[int, Meta(ge=0, le=MAX_RULE_COUNT)]


class AuditHead(Document, frozen=True, kw_only=True):
    """The audit log's length and chained hash before the event that this publishes."""

    count: Count
    sha256: Hex


class Head(Document, frozen=True, kw_only=True):
    """What was added since the checkpoint; signed by an online head key that the policy names."""

    v: Literal[1]
    deployment: Name
    epoch: Epoch
    seq: Seq
    issued: Time
    expires: Time
    trust: TrustMinimum
    segments: Annotated[tuple[SegmentRef, ...], Meta(max_length=MAX_SEGMENTS)]
    rules: RulesRef
    audit: AuditHead

    def __post_init__(self) -> None:
        if self.expires <= self.issued:
            raise ValueError("expires must lie after issued")


class Checkpoint(Document, frozen=True, kw_only=True):
    """Names the base of an epoch; the only thing that takes an entry or a rule away. A TUF target under two offline
    keys.

    Attributes:
        carry: the oldest epoch whose online tail and rules live on in this one; its own epoch when none does.
        removed: digests that stood on the list once and do not any more; they are named in every later checkpoint.
        removed_rules: the ids of standing rules of which the same is true.
    """

    v: Literal[1]
    deployment: Name
    epoch: Epoch
    through: Seq
    root: Hex
    count: Annotated[int, Meta(ge=0, le=MAX_BASE // PREFIX)]
    rules: Hex
    removed: tuple[Hex, ...]
    removed_rules: Annotated[tuple[RuleId, ...], Meta(max_length=MAX_REMOVED_RULES)]
    carry: Epoch
    audit: AuditHead

    def __post_init__(self) -> None:
        if self.carry > self.epoch:
            raise ValueError("carry must not be later than epoch")
        _refuse_disorder("removed", self.removed)
        _refuse_disorder("removed_rules", [number_of(rule) for rule in self.removed_rules])


class Rule(Document, frozen=True, kw_only=True, rename={"excepted": "except"}):
    """One standing rule; kinds and ranges that this release does not know are read, and deny."""

    id: RuleId
    kind: Annotated[str, Meta(min_length=1, max_length=50, pattern=PLAIN)]
    match: dict[str, Any]
    reason: Annotated[str, Meta(min_length=1, max_length=200, pattern=PLAIN)]
    excepted: Annotated[tuple[Digest, ...], Meta(max_length=100_000)] = ()


class Rules(Document, frozen=True, kw_only=True):
    """All standing rules in force, by ascending number of their id."""

    v: Literal[1]
    rules: Annotated[tuple[Rule, ...], Meta(max_length=MAX_RULE_COUNT)]

    def __post_init__(self) -> None:
        _refuse_disorder("rules", [number_of(rule.id) for rule in self.rules])


EMPTY_SET = b""
EMPTY_RULES = b'{"v":1,"rules":[]}'


def parse_head(payload: bytes) -> Head:
    """Read a head out of a payload whose signature has been verified; raises FormatError."""
    return parse(payload, Head, limit=MAX_HEAD, what="revocation head")


def parse_checkpoint(data: bytes) -> Checkpoint:
    """Read a checkpoint out of verified TUF metadata's target; raises FormatError."""
    return parse(data, Checkpoint, limit=MAX_CHECKPOINT, what="revocation checkpoint")


def parse_rules(data: bytes) -> Rules:
    """Read standing rules whose digest a signed head names; raises FormatError."""
    return parse(data, Rules, limit=MAX_RULES, what="standing rules")


def dump(document: Head | Checkpoint | Rules) -> bytes:
    """Write one of the list's documents; the inverse of its parser."""
    return dumps(document)


def number_of(rule: str) -> int:
    """The number in a rule's id: ``R13`` is 13. Numbers are given once, and never again."""
    return int(rule[1:])


def prefix_of(digest: Digest | Hex) -> bytes:
    """The bytes that stand for a digest in a set file."""
    return bytes.fromhex(digest.removeprefix("sha256:"))[:PREFIX]


def dump_set_file(prefixes: Iterable[bytes]) -> bytes:
    """Write a set file; the inverse of :func:`parse_set_file`."""
    return b"".join(sorted(set(prefixes)))


def parse_set_file(data: bytes, *, limit: int = MAX_TAIL, what: str = "segment") -> tuple[bytes, ...]:
    """Read a set file into its prefixes.

    Raises:
        FormatError: ``format.too-large`` beyond ``limit`` entries; ``list.segments`` unless sorted and unique.
    """
    if len(data) > limit * PREFIX:
        raise FormatError("format.too-large", f"{what} is too large", expected=f"at most {limit} entries")
    if len(data) % PREFIX:
        raise FormatError(
            "list.segments",
            f"{what} is not a whole number of entries",
            found=f"{len(data)} bytes",
            expected=f"a multiple of {PREFIX}",
        )
    prefixes = tuple(data[at : at + PREFIX] for at in range(0, len(data), PREFIX))
    if any(a >= b for a, b in pairwise(prefixes)):
        raise FormatError("list.segments", f"{what} is not sorted, or names an entry twice")
    return prefixes


def _refuse_disorder(field: str, values: Sequence[Any]) -> None:
    if any(a >= b for a, b in pairwise(values)):
        raise ValueError(f"{field}: expected ascending order, each once")


def sha256_hex(data: bytes) -> Hex:
    """The name of a content-addressed list file."""
    return Hex(hashlib.sha256(data).hexdigest())
