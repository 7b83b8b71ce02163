"""Our keyless bundles, read by somebody else: @sigstore/verify accepts what a private Sigstore signed for us.

Asked for are one log, one log of certificates and one time: a timestamp's, or the log's own where there is none.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from attestor.signing.keyless import KeylessSigner, Services
from tests.interop.test_bundles import flipped, node, outcomes
from tests.node.tools import Tools
from tests.sigstore import COMBINATIONS, PrivateSigstore, workflow_claims
from verifier.formats.bundle import dump_bundle

__all__ = ["node"]

Json = dict[str, Any]
SUBJECT = f"https://github.com/{workflow_claims()['job_workflow_ref']}"
STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a.whl","digest":{"sha256":"%s"}}],%s}' % (
    b"ab" * 32,
    b'"predicateType":"https://slsa.dev/provenance/v1","predicate":{}',
)


def signed(sigstore: PrivateSigstore, log: int, timestamps: bool) -> Json:
    """A bundle that our writer signs keyless."""
    services = Services.read(json.dumps(sigstore.trust_config(log, timestamps=timestamps)).encode())
    token = sigstore.issuer.token(workflow_claims())
    signer = KeylessSigner(services, lambda: token, timedelta(seconds=60))
    bundle: Json = json.loads(dump_bundle(signer.sign(STATEMENT)))
    return bundle


def asked(sigstore: PrivateSigstore, node: Tools, bundles: list[Json], **policy: Any) -> list[bool]:
    """Which bundles @sigstore/verify accepts, as signed by the workflow or as ``policy`` says."""
    wanted = {"subjectAlternativeName": SUBJECT, "extensions": {"issuer": sigstore.issuer.url}, **policy}
    thresholds = {"tlogThreshold": 1, "ctlogThreshold": 1, "timestampThreshold": 1}
    root = sigstore.trusted_root()
    texts = [json.dumps(bundle) for bundle in bundles]
    answers = outcomes(node, texts, (), thresholds, trustedRoot=root, policy=wanted)
    return [answer["ok"] for answer in answers]


@pytest.mark.parametrize(("log", "timestamps"), COMBINATIONS)
def test_it_accepts_what_we_signed(sigstore: PrivateSigstore, node: Tools, log: int, timestamps: bool) -> None:
    assert asked(sigstore, node, [signed(sigstore, log, timestamps)]) == [True]


def payload(bundle: Json) -> None:
    text = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"abab", b"abac", 1)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()


def signature(bundle: Json) -> None:
    (entry,) = bundle["dsseEnvelope"]["signatures"]
    entry["sig"] = flipped(entry["sig"])


def certificate(bundle: Json) -> None:
    held = bundle["verificationMaterial"]["certificate"]
    held["rawBytes"] = flipped(held["rawBytes"])


def body(bundle: Json) -> None:
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    entry["canonicalizedBody"] = flipped(entry["canonicalizedBody"])


def no_log(bundle: Json) -> None:
    bundle["verificationMaterial"]["tlogEntries"] = []


CHANGES: list[Callable[[Json], None]] = [payload, signature, certificate, body, no_log]


@pytest.mark.parametrize(("log", "timestamps"), COMBINATIONS)
def test_it_refuses_what_was_changed(sigstore: PrivateSigstore, node: Tools, log: int, timestamps: bool) -> None:
    bundles = [signed(sigstore, log, timestamps) for _ in CHANGES]
    for change, bundle in zip(CHANGES, bundles, strict=True):
        change(bundle)
    assert asked(sigstore, node, bundles) == [False] * len(CHANGES)


def test_it_refuses_another_identity(sigstore: PrivateSigstore, node: Tools) -> None:
    bundles = [signed(sigstore, 2, True)]
    assert asked(sigstore, node, bundles, subjectAlternativeName="https://host.example/other") == [False]
    assert asked(sigstore, node, bundles, extensions={"issuer": "https://host.example"}) == [False]
