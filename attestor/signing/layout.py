"""An owner's layout: as people write it (TOML), and as it is signed (an in-toto layout in a DSSE envelope).

expires = "2027-01-31T00:00:00Z"
readme = "How csv-exporter is released."

[keys]
builder = "builder.pem.pub"

[[step]]
name = "build"
by = ["builder"]
command = ["loadlock", "attest", ".", "-o", "dist"]
products = [["CREATE", "dist/*"]]
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from attestor.checking.leaks import LeakGate
from attestor.signing.signers import MAX_PUBLIC_KEY, KeySigner
from verifier.errors import FormatError, UsageError
from verifier.files import read_capped
from verifier.formats.dsse import Envelope, Signature, dump_envelope
from verifier.formats.layout import (
    MAX_KEYS,
    MAX_LAYOUT,
    MAX_RULES,
    MAX_STEPS,
    NOTHING_ELSE,
    Command,
    LayoutKey,
    Rule,
    StepName,
    dump_layout,
    parse_layout,
)
from verifier.formats.strict_json import Document, convert, dumps, loads, plain, quoted
from verifier.formats.text import Hex, Name, Time
from verifier.signatures.keys import PublicKey
from verifier.signatures.layout_keys import layout_key

_Rules = Annotated[tuple[Rule, ...], Meta(max_length=MAX_RULES)]


class _Step(Document, frozen=True, kw_only=True):
    name: StepName
    by: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=MAX_KEYS)]
    threshold: Annotated[int, Meta(ge=1, le=10)] = 1
    command: Command = ()
    materials: _Rules = ()
    products: _Rules = ()


class _Written(Document, frozen=True, kw_only=True):
    expires: Time
    readme: Annotated[str, Meta(max_length=4_000)] = ""
    keys: Annotated[dict[str, str], Meta(min_length=1, max_length=MAX_KEYS)]
    step: Annotated[tuple[_Step, ...], Meta(min_length=1, max_length=MAX_STEPS)]


def read_layout(path: Path) -> bytes:
    """The payload of the layout that a TOML file describes.

    Args:
        path: the file; its ``keys`` name PEM files, relative to it.

    Raises:
        UsageError: a file cannot be read; ``usage.arguments``: a step is taken by nobody known.
        FormatError: any ``format.*`` code.
        Refused: ``usage.key``: a key cannot be used; ``leak.found``.
    """
    written = _read(path)
    keys = {name: layout_key(_public(path.parent / file)) for name, file in written.keys.items()}
    value = {
        "_type": "layout",
        "expires": written.expires,
        "keys": {str(key.keyid): plain(key) for key in keys.values()},
        "steps": [_step(step, keys) for step in written.step],
        "inspect": [],
        "readme": written.readme,
    }
    payload = dumps(value)
    LeakGate().check(loads(payload, limit=MAX_LAYOUT, what="the layout"), what="the layout")
    return dump_layout(parse_layout(payload))


def sign_payload(payload: bytes, signer: KeySigner) -> bytes:
    """A layout or a link in its envelope, with the key's id where in-toto looks for it."""
    envelope = signer.sign(payload).envelope
    (signature,) = envelope.signatures
    named = Signature(keyid=signer.public_key.id.hex, sig=signature.sig)
    return dump_envelope(
        Envelope(
            payload_type=envelope.payload_type, unverified_payload=envelope.unverified_payload, signatures=(named,)
        )
    )


def _read(path: Path) -> _Written:
    data = read_capped(path, MAX_LAYOUT, "the layout")
    try:
        value = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError("format.syntax", "the layout is not TOML", found=quoted(str(error))) from error
    return convert(value, _Written, what="the layout")


def _public(path: Path) -> PublicKey:
    return PublicKey.from_pem(read_capped(path, MAX_PUBLIC_KEY, "a public key of the layout"))


def _step(step: _Step, keys: dict[str, LayoutKey]) -> dict[str, object]:
    unknown = sorted(set(step.by) - keys.keys())
    if unknown:
        raise UsageError(
            "usage.arguments", f"the step {step.name!r} is taken by a key that is not among 'keys'",
            found=", ".join(unknown), expected=", ".join(keys),
        )  # fmt: skip
    return {
        "_type": "step",
        "name": step.name,
        "expected_materials": _closed(step.materials),
        "expected_products": _closed(step.products),
        "pubkeys": [Hex(keys[name].keyid) for name in step.by],
        "expected_command": step.command,
        "threshold": step.threshold,
    }


def _closed(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules, and after them nothing else."""
    return rules if rules[-1:] == (NOTHING_ELSE,) else (*rules, NOTHING_ELSE)
