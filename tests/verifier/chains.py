"""Layouts and links for tests: plain values that a test changes as it likes, really signed."""

from __future__ import annotations

import json
from typing import Any

from loadlock.testing.people import Person
from verifier.formats.dsse import IN_TOTO, encode_base64, pae
from verifier.formats.strict_json import plain
from verifier.signatures.layout_keys import layout_key

WHEEL = "csv_exporter-1.0.0-py3-none-any.whl"
DIGEST = "sha256:" + "ab" * 32
ELSEWHERE = "cd" * 32
MADE = {f"dist/{WHEEL}": {"sha256": "ab" * 32}, "dist/notes.txt": {"sha256": "01" * 32}}


def envelope(payload: bytes, *signers: Person, kind: str = IN_TOTO, keyid: str | None = None) -> dict[str, Any]:
    """A DSSE envelope as plain values."""
    message = pae(kind, payload)
    signatures = [
        {"keyid": person.public.id.hex if keyid is None else keyid, "sig": encode_base64(person.sign(message))}
        for person in signers
    ]
    return {"payload": encode_base64(payload), "payloadType": kind, "signatures": signatures}


class Chain:
    """A plugin that ``ci`` builds and two of three colleagues check; everything may be changed before it is signed.

    Args:
        owner: who signs the layout; somebody new when nobody is named.
        made: what the build makes, the wheel among it.
    """

    def __init__(self, owner: Person | None = None, made: dict[str, Any] = MADE) -> None:
        self.owner = owner or Person("owner", "ed25519")
        self.ci = Person("ci")
        self.one, self.two, self.three = (Person(name, "ed25519") for name in ("one", "two", "three"))
        self.layout: dict[str, Any] = {
            "_type": "layout", "expires": "2099-01-01T00:00:00Z", "readme": "", "inspect": [],
            "keys": {key.keyid: plain(key) for key in map(layout_key, [p.public for p in self.workers])},
            "steps": [
                self.step("build", [self.ci], 1, products=[["CREATE", "dist/*"]], command=["make", "wheel"]),
                self.step(
                    "check", [self.one, self.two, self.three], 2,
                    materials=[["MATCH", "*", "WITH", "PRODUCTS", "FROM", "build"]],
                    products=[["MATCH", "*", "WITH", "PRODUCTS", "FROM", "build"]],
                ),
            ],
        }  # fmt: skip
        self.links: list[tuple[Person, dict[str, Any]]] = [
            (self.ci, self.link("build", {}, made, command=["make", "wheel"])),
            (self.one, self.link("check", made, made)),
            (self.two, self.link("check", made, made)),
        ]

    @property
    def workers(self) -> tuple[Person, ...]:
        """Everybody but the owner."""
        return (self.ci, self.one, self.two, self.three)

    @staticmethod
    def step(
        name: str, people: list[Person], threshold: int, *, materials: list[list[str]] | None = None,
        products: list[list[str]] | None = None, command: list[str] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A step as plain values."""
        nothing_else = [["DISALLOW", "*"]]
        return {
            "_type": "step", "name": name, "pubkeys": [person.public.id.hex for person in people],
            "threshold": threshold, "expected_command": command or [],
            "expected_materials": (materials or []) + nothing_else,
            "expected_products": (products or []) + nothing_else,
        }  # fmt: skip

    @staticmethod
    def link(
        name: str, materials: dict[str, Any], products: dict[str, Any], *, command: list[str] | None = None
    ) -> dict[str, Any]:
        """A link as plain values."""
        return {
            "_type": "link", "name": name, "command": command or [], "materials": dict(materials),
            "products": dict(products), "byproducts": {"return-value": 0}, "environment": {},
        }  # fmt: skip

    @property
    def payload(self) -> bytes:
        """The layout's payload."""
        return json.dumps(self.layout).encode()

    def envelopes(self) -> list[dict[str, Any]]:
        """The layout's envelope, then the links'."""
        return [
            envelope(self.payload, self.owner),
            *(envelope(json.dumps(link).encode(), person) for person, link in self.links),
        ]

    def signed(self) -> bytes:
        """The whole chain."""
        return lines(self.envelopes())


def lines(envelopes: list[dict[str, Any]]) -> bytes:
    """Envelopes as one document."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in envelopes)
