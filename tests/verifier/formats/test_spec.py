"""The pages of docs/spec do not lie: their examples parse, their limits are those of the code, no page is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import msgspec
import pytest

from attestor.checking import osv, scanner
from crl_server.records import audit
from tests.project.tree import ROOT
from verifier.codes import CODES
from verifier.deployment import home
from verifier.deployment.tuf_chain import TRUSTED_ROOT_LIMIT
from verifier.errors import LoadlockError, Refused
from verifier.formats import (
    acknowledgement,
    advisory,
    bundle,
    dsse,
    enrolment,
    findings,
    handover,
    identity,
    layout,
    manifest,
    material,
    policy,
    push,
    release,
    revocations,
    sbom,
    statement,
    strict_json,
)
from verifier.judging import supply_chain

SPEC = ROOT / "docs" / "spec"
FENCED = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES: dict[str, list[Callable[[bytes], object]]] = {
    "acknowledgement": [acknowledgement.parse_identity, acknowledgement.parse_acknowledgement],
    "attestation-set": [bundle.parse_bundle],
    "audit-log": [audit.parse_entry],
    "certification": [statement.parse_certification],
    "enrolment": [enrolment.parse_enrolment],
    "layout": [layout.parse_layout, layout.parse_link],
    "errors": [partial(strict_json.loads, limit=1000, what="error")],
    "handover": [handover.parse_handover],
    "installed": [release.parse_release],
    "keyless": [bundle.parse_bundle],
    "plugin-manifest": [manifest.parse_manifest],
    # Its keys are abridged, so that only the form can be read, not whether its parts fit together.
    "policy": [
        partial(strict_json.parse, type_=type_, limit=policy.MAX_POLICY, what="policy")
        for type_ in (policy.Policy, policy.Waiver, policy.Principal, policy.Principal)
    ],
    "provenance": [statement.parse_provenance],
    "push": [push.parse_announcement],
    "revocation-list": [revocations.parse_head, revocations.parse_checkpoint],
    "statement": [statement.parse_statement, dsse.parse_envelope],
    "strict-json": [partial(strict_json.loads, limit=1000, what="example")],
    "test-result": [findings.parse_test_result],
    "trust": [
        partial(strict_json.parse, type_=type_, limit=home.RECORD_LIMIT, what="host")
        for type_ in (home.Host, home.State)
    ],
    "vulnerabilities": [findings.parse_vulnerabilities],
}


def page(name: str) -> str:
    return (SPEC / f"{name}.md").read_text(encoding="utf-8")


def unabridged(example: str) -> bytes:
    """The example with what it leaves out (…) filled in: digests with zeros, base64 with nothing."""
    example = re.sub(r"sha256:…", f"sha256:{'0' * 64}", example)
    example = re.sub(r'"…"', f'"{"0" * 64}"', example)
    example = re.sub(r'"([0-9a-f]{4})…"', lambda match: f'"{match[1]:0<64}"', example)
    return re.sub(r"…=?", "", example).encode()


# -- examples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_parses(name: str) -> None:
    found = FENCED.findall(page(name))
    assert len(found) == len(EXAMPLES[name])
    for example, parse in zip(found, EXAMPLES[name], strict=True):
        parse(unabridged(example))


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_example_would_parse_as_another_one(name: str) -> None:
    # A parser that takes anything would make the test above worthless.
    if name in ("errors", "strict-json"):
        return
    for parse in EXAMPLES[name]:
        with pytest.raises(Refused):
            parse(b'{"v":1}')


def test_the_error_that_is_shown_is_one() -> None:
    shown = strict_json.loads(FENCED.findall(page("errors"))[0].encode(), limit=1000, what="error")
    error = LoadlockError(shown["code"], shown["what"], found=shown["found"], expected=shown["expected"])
    assert error.document() == shown
    assert f"```text\n{error}\n```" in page("errors")


# -- the index ---------------------------------------------------------------------------------------------------------


def test_every_page_is_in_the_index() -> None:
    listed = set(re.findall(r"^\| \[[^\]]+\]\(([a-z-]+)\.md\)", page("README"), re.MULTILINE))
    assert listed == {path.stem for path in SPEC.glob("*.md")} - {"README"}


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"errors"}))
def test_every_page_names_its_sources(name: str) -> None:
    assert "\nSources: " in page(name)


def test_every_code_that_a_page_names_is_registered() -> None:
    # Pages name codes in parentheses, behind the rule; what else looks like one is a field or a kind of audit entry.
    areas = "|".join(sorted({code.split(".")[0] for code in CODES}))
    code = re.compile(rf"`((?:{areas})\.[a-z]+(?:-[a-z]+)*)`")
    for path in sorted(SPEC.glob("*.md")):
        named = {
            found for aside in re.findall(r"\(([^()]*)\)", path.read_text("utf-8")) for found in code.findall(aside)
        }
        assert named <= set(CODES), path.name


# -- limits ------------------------------------------------------------------------------------------------------------


def size(count: int) -> str:
    """A number of bytes as pages write it."""
    for unit, bytes_ in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if count >= bytes_ and count % bytes_ == 0:
            return f"{count // bytes_} {unit}"
    return f"{count:,} bytes"


def bound(type_: type[strict_json.Document], field: str) -> int:
    """How many items a field of a document may hold."""
    found = {entry.encode_name: entry.type for entry in inspected(type_)}[field]
    limit = getattr(found, "max_length", None)
    assert isinstance(limit, int), f"{type_.__name__}.{field} has no limit"
    return limit


def inspected(type_: type[strict_json.Document]) -> tuple[msgspec.inspect.Field, ...]:
    info = msgspec.inspect.type_info(type_)
    assert isinstance(info, msgspec.inspect.StructType)
    return info.fields


M = manifest.Manifest
LIMITS: dict[str, dict[str, str]] = {
    "attestation-set": {
        "a set": size(dsse.MAX_SET),
        "statements in a set": f"{bundle.MAX_STATEMENTS}",
        "one bundle": size(dsse.MAX_ENVELOPE),
        "characters of a hint": f"{bundle.MAX_HINT}",
        "one statement": size(statement.MAX_STATEMENT),
    },
    "certification": {
        "predicate": size(statement.MAX_STATEMENT),
        "`inputAttestations`": f"{bound(statement.Certification, 'inputAttestations')}",
        "`verifiedLevels`": f"{bound(statement.Certification, 'verifiedLevels')}",
        "`conditions`": f"{bound(statement.Conditions, 'conditions')} lines of 500 characters",
    },
    "layout": {
        "layout and links together": size(supply_chain.MAX_CHAIN),
        "links": f"{supply_chain.MAX_LINKS}",
        "a layout": size(layout.MAX_LAYOUT),
        "a link": size(layout.MAX_LINK),
        "steps": f"{layout.MAX_STEPS}",
        "keys": f"{layout.MAX_KEYS}",
        "rules of a list": f"{layout.MAX_RULES}",
        "materials, or products, of a link": f"{layout.MAX_ARTIFACTS:,}",
    },
    "keyless": {
        "a certificate's base64": size(material.MAX_CERTIFICATE),
        "a log entry's body's base64": size(material.MAX_BODY),
        "a checkpoint's text": size(material.MAX_CHECKPOINT),
        "hashes of an inclusion proof": f"{material.MAX_PATH}",
        "timestamps of a bundle": f"{material.MAX_TIMESTAMPS}",
        "a timestamp's base64": size(material.MAX_TIMESTAMP),
        "a trusted root": size(TRUSTED_ROOT_LIMIT),
        "trusted roots of a policy": f"{policy.MAX_TRUSTED_ROOTS}",
        "refs, triggers of an identity": f"{bound(identity.WorkflowIdentity, 'refs')}",
    },
    "plugin-manifest": {
        "manifest, signed or not": size(manifest.MAX_MANIFEST),
        "entry point groups": f"{bound(M, 'entry_points')}",
        "characters of an object reference": "500",
        "`capabilities`": f"{bound(M, 'capabilities')}",
        "`allowed_egress`": f"{bound(M, 'allowed_egress')}, each with {bound(manifest.Egress, 'ports')} ports",
        "`sdk_allowlist`": f"{bound(M, 'sdk_allowlist')}",
        "`host_provided`": f"{bound(M, 'host_provided')}",
        "`dependencies`": f"{bound(manifest.SignedManifest, 'dependencies'):,}",
        "lists of text": f"{bound(M, 'secrets')} lines of 500 characters",
    },
    "push": {
        "one line of the stream": size(push.MAX_LINE),
        "head": size(push.MAX_PUSHED_HEAD),
        "segment": size(push.MAX_PUSHED_SEGMENT),
    },
    "revocation-list": {
        "head's payload": size(revocations.MAX_HEAD),
        "segments of a head": f"{revocations.MAX_SEGMENTS:,}",
        "entries of the tail": f"{revocations.MAX_TAIL:,}",
        "checkpoint": size(revocations.MAX_CHECKPOINT),
        "removed rules of a checkpoint": f"{revocations.MAX_REMOVED_RULES:,}",
        "rules": f"{size(revocations.MAX_RULES)}, {revocations.MAX_RULE_COUNT:,} rules",
        "base": size(revocations.MAX_BASE),
    },
    "statement": {
        "envelope": size(dsse.MAX_ENVELOPE),
        "statement": size(statement.MAX_STATEMENT),
        "signatures of an envelope": f"{dsse.MAX_SIGNATURES}",
        "characters of a signature's base64": f"{dsse.MAX_SIGNATURE:,}",
        "characters of a payload type or key id": f"{dsse.MAX_NAME}",
        "characters of a subject's name": f"{statement.MAX_NAME}",
        "SBOM predicate": f"{size(sbom.MAX_SBOM)}, {sbom.MAX_COMPONENTS:,} components",
    },
    "strict-json": {
        "depth": f"{strict_json.MAX_DEPTH} levels",
        "integers, and any number's absolute value": f"{strict_json.MAX_INTEGER:,}",
        "characters of a number": f"{strict_json.MAX_NUMBER_LENGTH}",
        "commas and opening brackets": f"{strict_json.MAX_VALUES:,}",
        "characters of a document that an error repeats": f"{strict_json.MAX_QUOTED}",
    },
    "test-result": {
        "predicate": size(statement.MAX_STATEMENT),
        "`configuration`": f"{bound(findings.TestResult, 'configuration')}",
    },
    "vulnerabilities": {
        "predicate": size(statement.MAX_STATEMENT),
        "dependencies": f"{bound(findings.Audit, 'dependencies'):,}",
        "vulnerabilities": f"{bound(findings.Scanner, 'result'):,}",
        "advisories of a database": f"{osv.MAX_ADVISORIES:,}, {osv.MAX_DATABASE >> 30} GiB",
        "one advisory": size(advisory.MAX_ADVISORY),
        "a database as a zip": f"{osv.MAX_ZIP >> 30} GiB",
        "a service's answer": f"{size(scanner.MAX_ANSWER)}, {scanner.ANSWER_SECONDS:.0f} seconds",
    },
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_limits_are_those_of_the_code(name: str) -> None:
    table = page(name).split("## Limits\n", 1)[1].strip().splitlines()[2:]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table if row.startswith("|")]
    assert {first: second for first, second, *_ in rows} == LIMITS[name]


def test_the_caps_of_policy_and_enrolment_are_those_of_the_code() -> None:
    principals, plugins, heads = (bound(policy.Policy, field) for field in ("principals", "plugins", "head_keys"))
    assert (
        f"Caps: {size(policy.MAX_POLICY)}; {principals:,} principals; {plugins:,} plugins; {heads} head keys."
        in page("policy")
    )
    keys, owners = bound(policy.Principal, "former"), bound(policy.PluginRule, "former_owners")
    accepted = bound(policy.FormerKey, "accepted")
    assert (
        f"{keys} former keys, of one plugin {owners} former owners, in one `accepted` {accepted:,} digests"
        in " ".join(page("policy").split())
    )
    assert f"Payload cap: {size(enrolment.MAX_ENROLMENT)}." in page("enrolment")


def test_every_cap_of_the_formats_stands_on_a_page() -> None:
    pages = "".join(path.read_text("utf-8") for path in SPEC.glob("*.md"))
    formats = (
        bundle, dsse, enrolment, findings, handover, manifest, material, policy, push, revocations, sbom, statement,
        strict_json,
    )  # fmt: skip
    caps = {
        f"{module.__name__}.{name}": value
        for module in formats
        for name, value in vars(module).items()
        if name.startswith("MAX_")
    }
    assert len(caps) > 15
    assert [name for name, cap in caps.items() if size(cap) not in pages and f"{cap:,}" not in pages] == []
