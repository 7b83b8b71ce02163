"""Was a wheel made as its owner laid out? A signed in-toto layout, and the signed links that its steps left.

For the release step, the certifier and the server's admission; a host relies on the certification that names the
layout. in-toto is an extra and is imported only where a chain is judged. The order, each a refusal:

1. the layout is signed by the owner and is, byte for byte, the one that is expected;
2. it is a layout that can be judged (see :mod:`verifier.formats.layout`) and has not expired;
3. every link is signed by somebody whom the layout names for exactly that step;
4. each step has as many links as its threshold, which agree, ran the command that is expected, and ended well;
5. in-toto's own verification accepts layout and links;
6. every file of the wheel's name, in any link, is this wheel, and the last step has it among its products.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from verifier.errors import FormatError, Refused, UsageError
from verifier.formats.dsse import IN_TOTO, Envelope, Signature, dump_envelope, parse_envelope, wire_of
from verifier.formats.layout import Layout, LayoutKey, Link, Step, link_name, parse_layout, parse_link
from verifier.formats.strict_json import plain, quoted
from verifier.formats.text import Digest, Hex
from verifier.signatures.keys import PublicKey
from verifier.signatures.layout_keys import keys_of, layout_key
from verifier.value import Value

MAX_CHAIN = 4 * 1024 * 1024
"""Size cap of a layout with its links in bytes."""
MAX_LINKS = 64
"""How many links a chain may hold."""
RETURN_VALUE = "return-value"
"""Where in-toto's tools write down how a command ended."""

_REFUSALS = {
    "LayoutExpiredError": "layout.expired",
    "LinkNotFoundError": "layout.threshold",
    "ThresholdVerificationError": "layout.threshold",
    "RuleVerificationError": "layout.rules",
}
# in-toto keeps what it was doing last in a global, for its errors.
_IN_TOTO = threading.Lock()


class Expected(Value, frozen=True):
    """Which layout is asked for.

    Args:
        keys: of its owner; one of them has to have signed it.
        payload: the digest of the layout's payload; None where whoever asks brought the layout along.
    """

    keys: Sequence[PublicKey]
    payload: Digest | None = None


class Fulfilled(Value, frozen=True):
    """A layout that was fulfilled.

    Attributes:
        payload: the digest of its payload.
        steps: the names of its steps, in order.
        links: how many links there were.
    """

    payload: Digest
    steps: tuple[str, ...]
    links: int


class _Taken(Value, frozen=True):
    """A link, and by which of the layout's keys it is signed."""

    link: Link
    keyid: Hex
    envelope: Envelope


def verify_chain(chain: bytes, expected: Expected, file_name: str, wheel: Digest, now: datetime) -> Fulfilled:
    """Demand that a wheel was made as a layout says.

    Args:
        chain: the layout's envelope and the links' envelopes, one a line, the layout first.
        expected: which layout.
        file_name: the wheel's file name.
        wheel: the wheel's digest.
        now: the moment (aware, UTC).

    Raises:
        Refused: a ``layout.*`` code, ``signature.invalid``, ``signature.unknown-signer``, ``signature.payload-type``.
        FormatError: any ``format.*`` code.
        UsageError: ``usage.extra`` without in-toto.
    """
    signed, envelopes = _split(chain)
    envelope, payload = _owners(signed, expected)
    layout = parse_layout(payload)
    if now >= layout.expires.instant:
        raise Refused("layout.expired", "the layout has expired", found=f"expired at {layout.expires}")
    keys = keys_of(layout)
    taken = [_open(link, layout, keys) for link in envelopes]
    for step in layout.steps:
        _check_step(step, [each for each in taken if each.link.name == step.name])
    _judge(envelope, taken)
    _check_wheel(layout, [each.link for each in taken], file_name, wheel)
    return Fulfilled(_digest(payload), tuple(step.name for step in layout.steps), len(taken))


def join_chain(layout: bytes, links: Sequence[bytes]) -> bytes:
    """A layout's envelope and its links' as one document.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return b"".join(dump_envelope(parse_envelope(each, what="the envelope")) + b"\n" for each in (layout, *links))


def _split(chain: bytes) -> tuple[Envelope, list[Envelope]]:
    if len(chain) > MAX_CHAIN:
        raise FormatError(
            "format.too-large", "layout and links are too large", found=f"{len(chain)} bytes",
            expected=f"at most {MAX_CHAIN} bytes",
        )  # fmt: skip
    lines = chain.split(b"\n")
    if lines.pop() != b"" or not lines:
        raise FormatError("format.syntax", "layout and links must be whole lines", expected="a layout, then links")
    if len(lines) > MAX_LINKS + 1:
        raise FormatError(
            "format.too-large", "there are too many links", found=str(len(lines) - 1), expected=f"at most {MAX_LINKS}"
        )
    envelopes = [parse_envelope(line, what=f"line {number}") for number, line in enumerate(lines, 1)]
    for envelope in envelopes:
        if envelope.payload_type != IN_TOTO:
            raise Refused(
                "signature.payload-type", "an envelope of another payload type", found=quoted(envelope.payload_type),
                expected=IN_TOTO,
            )  # fmt: skip
    return envelopes[0], envelopes[1:]


def _owners(signed: Envelope, expected: Expected) -> tuple[tuple[Envelope, LayoutKey], bytes]:
    """The layout's envelope with the one signature that counts, its key, and the payload that is covered."""
    payload = signed.unverified_payload
    if expected.payload is not None and _digest(payload) != expected.payload:
        raise Refused(
            "layout.other", "the layout is not the one that the policy names", found=_digest(payload),
            expected=expected.payload,
        )  # fmt: skip
    for public in expected.keys:
        for signature in signed.signatures:
            try:
                public.verify(signature.sig, signed.signed_bytes)
            except Refused:
                continue
            key = layout_key(public)
            return (_only(signed, key.keyid, signature.sig), key), payload
    raise Refused(
        "signature.unknown-signer", "the layout is not signed by the plugin's owner",
        found=f"{len(signed.signatures)} signatures", expected=" or ".join(key.id for key in expected.keys) or "no key",
    )  # fmt: skip


def _only(envelope: Envelope, keyid: Hex, sig: bytes) -> Envelope:
    return Envelope(
        payload_type=envelope.payload_type,
        unverified_payload=envelope.unverified_payload,
        signatures=(Signature(keyid=keyid, sig=sig),),
    )


def _open(envelope: Envelope, layout: Layout, keys: dict[str, PublicKey]) -> _Taken:
    """A link whose signature was verified, by a key of its step."""
    if len(envelope.signatures) != 1:
        raise Refused("layout.link", "a link has several signatures", expected="one link for each who took the step")
    signature = envelope.signatures[0]
    public = keys.get(signature.keyid)
    if public is None:
        raise Refused(
            "signature.unknown-signer", "a link is signed by a key that the layout does not name",
            found=quoted(signature.keyid), expected="one of the layout's keys",
        )  # fmt: skip
    public.verify(signature.sig, envelope.signed_bytes)
    link = parse_link(envelope.unverified_payload)
    step = layout.step(link.name)
    if step is None:
        raise Refused("layout.link", "the layout has no such step", found=link.name)
    keyid = Hex(signature.keyid)
    if keyid not in step.pubkeys:
        raise Refused(
            "signature.wrong-signer", f"the step {link.name!r} was taken by somebody who may not", found=keyid,
            expected=" or ".join(step.pubkeys),
        )  # fmt: skip
    return _Taken(link, keyid, envelope)


def _check_step(step: Step, taken: list[_Taken]) -> None:
    if len({each.keyid for each in taken}) != len(taken):
        raise Refused("layout.link", f"somebody left two links of the step {step.name!r}", expected="one for each")
    if len(taken) < step.threshold:
        raise Refused(
            "layout.threshold", f"too few links of the step {step.name!r}", found=str(len(taken)),
            expected=f"{step.threshold} by different keys",
        )  # fmt: skip
    for each in taken:
        if step.expected_command and each.link.command != step.expected_command:
            raise Refused(
                "layout.command", f"the step {step.name!r} ran another command",
                found=quoted(" ".join(each.link.command)), expected=quoted(" ".join(step.expected_command)),
            )  # fmt: skip
        ended = each.link.byproducts.get(RETURN_VALUE, 0)
        if type(ended) is not int or ended != 0:
            raise Refused("layout.link", f"the step {step.name!r} failed", found=quoted(f"return value {ended!r}"))
        first = taken[0].link
        if (each.link.materials, each.link.products) != (first.materials, first.products):
            raise Refused("layout.link", f"the links of the step {step.name!r} contradict each other")


def _judge(owners: tuple[Envelope, LayoutKey], taken: list[_Taken]) -> None:
    """in-toto's own verification, over nothing but what passed so far."""
    try:
        from in_toto.models.metadata import Metadata  # type: ignore[import-untyped]
        from in_toto.verifylib import in_toto_verify  # type: ignore[import-untyped]
    except ImportError as error:
        raise UsageError("usage.extra", "layouts need in-toto", expected="the extra loadlock[layout]") from error

    envelope, key = owners
    with _IN_TOTO, TemporaryDirectory(prefix="loadlock-links-") as name:
        for each in taken:
            Path(name, link_name(each.link.name, each.keyid)).write_bytes(dump_envelope(each.envelope))
        try:
            metadata = Metadata.from_dict(wire_of(envelope))
            in_toto_verify(metadata, {str(key.keyid): _plain(key)}, name, persist_inspection_links=False)
        except Exception as error:  # whatever in-toto or what it calls may raise, the chain is not accepted
            code = _REFUSALS.get(type(error).__name__, "layout.unusable")
            said = str(error).partition("\n")[0]
            raise Refused(
                code, "in-toto does not accept the links", found=quoted(f"{type(error).__name__}: {said}")
            ) from error


def _plain(key: LayoutKey) -> dict[str, Any]:
    value: dict[str, Any] = plain(key)
    return value


def _check_wheel(layout: Layout, links: list[Link], file_name: str, wheel: Digest) -> None:
    for link in links:
        for path, artifact in (*link.materials.items(), *link.products.items()):
            if path.rpartition("/")[2] == file_name and artifact.sha256 != wheel.hex:
                raise Refused(
                    "layout.subject", f"the step {link.name!r} was about another wheel of this name",
                    found=f"sha256:{artifact.sha256}", expected=wheel,
                )  # fmt: skip
    last = next(link for link in links if link.name == layout.steps[-1].name)
    if file_name not in {path.rpartition("/")[2] for path in last.products}:
        raise Refused(
            "layout.subject", f"the last step, {last.name!r}, has not made this wheel",
            expected=f"{file_name} among its products",
        )  # fmt: skip


def _digest(payload: bytes) -> Digest:
    return Digest.of(payload)
