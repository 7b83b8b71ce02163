"""in-toto layouts and links, as far as Loadlock accepts them: who takes which step, and what one step used and made.

Stricter than in-toto itself: no inspections (they run commands), no layouts below layouts, no key under two ids, and
rules that end by forbidding whatever is left. Source: in-toto specification 1.0, sections 4.3 and 4.4.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.strict_json import Document, convert, dumps, loads, quoted
from verifier.formats.text import PLAIN, Hex, Text, Time

MAX_LAYOUT = 256 * 1024
"""Size cap of a layout's payload in bytes."""
MAX_LINK = 1024 * 1024
"""Size cap of a link's payload in bytes."""
MAX_STEPS = 20
MAX_KEYS = 50
MAX_RULES = 100
MAX_ARTIFACTS = 5_000
"""How many materials, or products, one link may name."""
SHORT_ID = 8
"""How many digits of a key's id the file name of a link bears; in-toto's convention."""
NOTHING_ELSE = ("DISALLOW", "*")
"""The rule that every list of rules ends with."""

Word = Annotated[str, Meta(min_length=1, max_length=500, pattern=PLAIN)]
Rule = Annotated[tuple[Word, ...], Meta(min_length=2, max_length=10)]
Rules = Annotated[tuple[Rule, ...], Meta(min_length=1, max_length=MAX_RULES)]
Command = Annotated[tuple[Annotated[str, Meta(max_length=2_000)], ...], Meta(max_length=200)]


class StepName(Text):
    """The name of a step; it becomes part of a file's name."""

    __slots__ = ()
    grammar = r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?"
    words = "a step's name of lower-case letters, digits, '_' and '-', at most 40 characters"


class KeyValue(Document, frozen=True, kw_only=True):
    """A public key: PEM for ECDSA, 64 hexadecimal digits for Ed25519."""

    public: Annotated[str, Meta(max_length=1_000)]


class LayoutKey(Document, frozen=True, kw_only=True):
    """A key as in-toto writes it, of the kinds that Loadlock knows."""

    keyid: Hex
    keytype: Literal["ecdsa", "ed25519"]
    scheme: Literal["ecdsa-sha2-nistp256", "ed25519"]
    keyval: KeyValue


class Step(Document, frozen=True, kw_only=True):
    """What is expected of one step; an empty command expects none in particular."""

    _type: Literal["step"]
    name: StepName
    expected_materials: Rules
    expected_products: Rules
    pubkeys: Annotated[tuple[Hex, ...], Meta(min_length=1, max_length=MAX_KEYS)]
    expected_command: Command
    threshold: Annotated[int, Meta(ge=1, le=10)]

    def __post_init__(self) -> None:
        if len(set(self.pubkeys)) != len(self.pubkeys):
            raise ValueError(f"step {self.name}: a key is named twice")
        if self.threshold > len(self.pubkeys):
            raise ValueError(
                f"step {self.name}: its threshold of {self.threshold} exceeds its {len(self.pubkeys)} keys"
            )
        if len({key[:SHORT_ID] for key in self.pubkeys}) != len(self.pubkeys):
            raise ValueError(f"step {self.name}: two keys have the same short id")
        for kind, rules in (("materials", self.expected_materials), ("products", self.expected_products)):
            if rules[-1] != NOTHING_ELSE:
                raise ValueError(f"step {self.name}: the rules for {kind} must end with {' '.join(NOTHING_ELSE)}")


class Layout(Document, frozen=True, kw_only=True):
    """The steps in their order, and the keys of those who take them."""

    _type: Literal["layout"]
    expires: Time
    keys: Annotated[dict[str, LayoutKey], Meta(min_length=1, max_length=MAX_KEYS)]
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=MAX_STEPS)]
    inspect: tuple[()]
    readme: Annotated[str, Meta(max_length=4_000)]

    def __post_init__(self) -> None:
        for name, key in self.keys.items():
            if name != key.keyid:
                raise ValueError(f"the key {key.keyid} stands under another id")
        if len({step.name for step in self.steps}) != len(self.steps):
            raise ValueError("two steps have the same name")
        for step in self.steps:
            if not set(step.pubkeys) <= self.keys.keys():
                raise ValueError(f"step {step.name} names a key that is not among the layout's keys")

    def step(self, name: str) -> Step | None:
        """The step of that name, if there is one."""
        return next((step for step in self.steps if step.name == name), None)


class Artifact(Document, frozen=True, kw_only=True):
    """A file's digest."""

    sha256: Hex


Artifacts = Annotated[dict[Word, Artifact], Meta(max_length=MAX_ARTIFACTS)]


class Link(Document, frozen=True, kw_only=True):
    """What one step ran, used and made; ``byproducts`` and ``environment`` are whatever its tool wrote down."""

    _type: Literal["link"]
    name: StepName
    command: Command
    materials: Artifacts
    products: Artifacts
    byproducts: dict[str, Any]
    environment: dict[str, Any]


def parse_layout(payload: bytes) -> Layout:
    """Read a layout out of a payload whose signature has been verified.

    Raises:
        FormatError: any ``format.*`` code; ``format.unsupported`` for a document of another kind, which may have the
            same payload type, and for a layout with inspections.
    """
    value = _of_kind(payload, "layout", MAX_LAYOUT)
    if value.get("inspect"):
        raise FormatError(
            "format.unsupported", "the layout has inspections, which would run commands where it is verified",
            expected="steps alone",
        )  # fmt: skip
    return convert(value, Layout, what="the layout")


def parse_link(payload: bytes) -> Link:
    """Read a link out of a payload whose signature has been verified.

    Raises:
        FormatError: any ``format.*`` code; ``format.unsupported`` for a document of another kind, such as a layout in
            the place of a link.
    """
    return convert(_of_kind(payload, "link", MAX_LINK), Link, what="the link")


def dump_layout(layout: Layout) -> bytes:
    """Write a layout; the inverse of :func:`parse_layout`."""
    return dumps(layout)


def link_name(step: str, keyid: str) -> str:
    """The name of the file that holds a link, as in-toto's own tools look for it."""
    return f"{step}.{keyid[:SHORT_ID]}.link"


def _of_kind(payload: bytes, kind: str, limit: int) -> dict[str, Any]:
    what = f"the {kind}"
    value = loads(payload, limit=limit, what=what)
    found = value.get("_type") if isinstance(value, dict) else None
    if found != kind:
        raise FormatError(
            "format.unsupported", f"this is no in-toto {kind}", found=quoted(repr(found)), expected=f"_type {kind!r}"
        )
    assert isinstance(value, dict)  # noqa: S101 - only a dictionary has a _type
    return value
