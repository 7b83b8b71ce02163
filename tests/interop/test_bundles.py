"""Our bundles, read by somebody else: @sigstore/verify accepts them, and refuses whatever was changed in them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import Released
from tests.node.tools import Tools, node_tools
from verifier.signatures.keys import PublicKey

SCRIPT = Path(__file__).parents[1] / "node" / "verify_bundles.cjs"
NO_LOGS = {"tlogThreshold": 0, "ctlogThreshold": 0, "timestampThreshold": 0}


@pytest.fixture(scope="module")
def node() -> Tools:
    if shutil.which("npm") is None and os.environ.get("CI") != "true":
        pytest.skip("tools/system_packages.sh could not install npm")
    return node_tools()


def outcomes(
    node: Tools, bundles: Iterable[str], keys: Iterable[PublicKey], thresholds: dict[str, int] = NO_LOGS, **more: Any
) -> list[dict[str, Any]]:
    """What @sigstore/verify says of each bundle; ``more`` are a trusted root and a policy for keyless ones."""
    known = {key.hint: {"spki": base64.b64encode(key.spki).decode(), "alg": key.alg} for key in keys}
    asked = json.dumps({"keys": known, "thresholds": thresholds, "bundles": list(bundles), **more})
    done = subprocess.run(
        [node.node, SCRIPT], input=asked, env=os.environ | {"NODE_PATH": str(node.modules)}, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def lines(released: Released) -> list[str]:
    return released.attestations.decode().splitlines()


def flipped(text: str) -> str:
    """Base64 of the same bytes but for one bit in the middle."""
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


def payload_changed(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payload"] = flipped(bundle["dsseEnvelope"]["payload"])


def signature_changed(bundle: dict[str, Any]) -> None:
    (signature,) = bundle["dsseEnvelope"]["signatures"]
    signature["sig"] = flipped(signature["sig"])


def payload_type_changed(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "application/json"


def hint_of_nobody(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["publicKey"]["hint"] = "bm9ib2R5"


def signature_removed(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


@pytest.mark.parametrize(
    "change", [payload_changed, signature_changed, payload_type_changed, hint_of_nobody, signature_removed]
)
def test_what_was_changed_is_refused(node: Tools, released: Released, change: Callable[[dict[str, Any]], None]) -> None:
    changed = [json.loads(line) for line in lines(released)]
    for bundle in changed:
        change(bundle)
    answers = outcomes(node, map(json.dumps, changed), released.keys)
    assert [answer["ok"] for answer in answers] == [False] * len(changed)


def test_the_signature_of_another_key_is_refused(node: Tools, released: Released) -> None:
    bundles = [json.loads(line) for line in lines(released)]
    hints = [bundle["verificationMaterial"]["publicKey"]["hint"] for bundle in bundles]
    for bundle, hint in zip(bundles, hints, strict=True):
        other = next(key.hint for key in released.keys if key.hint != hint)
        bundle["verificationMaterial"]["publicKey"]["hint"] = other
    assert not any(answer["ok"] for answer in outcomes(node, map(json.dumps, bundles), released.keys))


def test_whoever_asks_for_a_log_is_given_none(node: Tools, released: Released) -> None:
    assert not any(answer["ok"] for answer in outcomes(node, lines(released), released.keys, thresholds={}))


def test_every_bundle_of_a_set_is_accepted(node: Tools, released: Released) -> None:
    assert {key.alg for key in released.keys} == {"ecdsa-p256", "ed25519"}
    assert len(lines(released)) == 4
    assert outcomes(node, lines(released), released.keys) == [{"ok": True}] * 4
