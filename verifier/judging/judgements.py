"""The single checks of verification, steps 2 to 8: each looks at values that a signature covers, and raises.

:mod:`verifier.judging.verify` says in which order they run; :mod:`verifier.judging.authority` has the steps after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from verifier.errors import FormatError, Refused
from verifier.formats.enrolment import Floor
from verifier.formats.manifest import FILE_NAME, RequirementText, SignedManifest, parse_manifest
from verifier.formats.packages import Versions, normalised
from verifier.formats.policy import PluginRule, Policy, TierRule
from verifier.formats.revocations import Checkpoint
from verifier.formats.sbom import Component, Sbom, parse_sbom
from verifier.formats.statement import PROVENANCE
from verifier.formats.strict_json import plain
from verifier.formats.text import Digest, Name, PluginId, Version
from verifier.judging.evidence import TITLES, Attested, Evidence
from verifier.revocation.revocation_list import RevocationList
from verifier.wheels.wheel import Snapshot, parse_file_name

SHOWN = 100
"""How many characters of a name that somebody else wrote a message shows."""
MAX_COMPARED = 100_000
"""How many pairs of a component and a requirement of its name are compared: each takes some microseconds."""
MOST_SHOWN = 5
"""How many of many things that are wrong a message shows."""


def check_list(revocations: RevocationList, checkpoint: Checkpoint, deployment: Name, floor: Floor) -> None:
    """Step 2: the list is of this deployment, belongs to the trust it is judged with, and is at or above the floor.

    Raises:
        Refused: ``list.deployment``, ``list.epoch``, ``list.rollback``.
    """
    head = revocations.head
    if head.deployment != deployment:
        raise Refused(
            "list.deployment",
            "the revocation list belongs to another deployment",
            found=repr(str(head.deployment)),
            expected=repr(str(deployment)),
        )
    if revocations.checkpoint != checkpoint:
        raise Refused(
            "list.epoch",
            "the revocation list rests on another checkpoint than the trust in force",
            found=f"epoch {revocations.checkpoint.epoch}",
            expected=f"epoch {checkpoint.epoch}",
        )
    if (head.epoch, head.seq) < (floor.epoch, floor.seq):
        raise Refused(
            "list.rollback",
            "the revocation list is older than this host accepts",
            found=f"epoch {head.epoch}, seq {head.seq}",
            expected=f"epoch {floor.epoch}, seq {floor.seq} or later",
        )


def check_not_listed(revocations: RevocationList, artifact: Digest) -> None:
    """Step 2: the artifact is not revoked.

    Raises:
        Refused: ``revoked.artifact``.
    """
    if revocations.lists(artifact):
        raise Refused(
            "revoked.artifact",
            "this plugin is revoked",
            found=f"{artifact} on the list of epoch {revocations.head.epoch}, seq {revocations.head.seq}",
            expected="an artifact that is not on the list",
        )


def check_dependencies_not_listed(revocations: RevocationList, manifest: SignedManifest) -> None:
    """Step 2 for locked dependencies, which only the signed manifest names.

    Raises:
        Refused: ``revoked.dependency``.
    """
    for dependency in manifest.dependencies:
        if revocations.lists(dependency.sha256):
            raise Refused(
                "revoked.dependency",
                "a dependency of this plugin is revoked",
                found=f"{dependency.name} {dependency.version}, {dependency.sha256}",
            )


def rule_of(policy: Policy, file_name: str) -> PluginRule:
    """Step 4: what the policy says of the plugin that a wheel's file name claims to be.

    Raises:
        Refused: ``wheel.metadata`` for a malformed file name, ``decision.unknown-plugin``.
    """
    try:
        plugin_id = PluginId.of(parse_file_name(file_name).name)
    except ValueError as error:
        raise Refused("wheel.metadata", "the wheel's name is no plugin's", found=repr(file_name[:200])) from error
    rule = policy.plugins.get(plugin_id)
    if rule is None:
        raise Refused(
            "decision.unknown-plugin",
            f"the policy does not know the plugin {plugin_id!r}",
            expected="an entry under 'plugins' that names its builders, owners and certifiers",
        )
    return rule


def check_subjects(evidence: Evidence, artifact: Digest) -> None:
    """Step 5: every statement that counts is about this artifact.

    Raises:
        Refused: ``subject.digest``.
    """
    wanted = artifact.hex
    rebuilds = ((PROVENANCE, attested) for attested in evidence.rebuilds.values())
    for kind, attested in (*evidence.attested.items(), *rebuilds):
        if attested.statement.sha256 != wanted:
            raise Refused(
                "subject.digest",
                f"the {TITLES[kind]} is about another artifact",
                found=f"{attested.statement.subject_name[:SHOWN]!a}, sha256:{attested.statement.sha256}",
                expected=artifact,
            )


def check_manifest(manifest: SignedManifest, signer: Name, snapshot: Snapshot) -> None:
    """Step 7: the manifest is of this wheel, by the owner it names.

    Raises:
        Refused: a ``manifest.*`` code or ``subject.digest``.
    """
    expected_id = PluginId.of(snapshot.name)
    for code, what, found, expected in (
        ("subject.digest", "the manifest pins another wheel", manifest.artifact_digest, snapshot.digest),
        ("manifest.plugin-id", "the plugin id does not belong to this wheel", manifest.plugin_id, expected_id),
        ("manifest.version", "manifest and wheel state different versions", manifest.version, snapshot.version),
        ("manifest.record", "the manifest pins another RECORD", manifest.record_digest, snapshot.record_digest),
        ("manifest.owner", "the manifest names another owner than its signer", manifest.owner, signer),
    ):
        if found != expected:
            raise Refused(code, what, found=repr(str(found)), expected=repr(str(expected)))


def check_in_force(manifest: SignedManifest, now: datetime) -> None:
    """Step 7: the manifest has not expired.

    Raises:
        Refused: ``manifest.expired``.
    """
    if manifest.expires_at is not None and now >= manifest.expires_at.instant:
        raise Refused("manifest.expired", "the manifest has expired", found=f"expired at {manifest.expires_at}")


def api_of(manifest: SignedManifest, policy: Policy, adapted: Iterable[str]) -> Version:
    """Step 7: the API version by which the plugin is called: the host's own, else the newest that the host adapts.

    Args:
        manifest: the signed manifest.
        policy: says which version the host offers.
        adapted: those that the host offers by way of an adapter.

    Raises:
        Refused: ``manifest.api-version``.
    """
    older = sorted(map(Version, adapted), key=lambda version: version.order, reverse=True)
    for version in (policy.host_api, *older):
        if manifest.api_version.admits(version):
            return version
    raise Refused(
        "manifest.api-version",
        "the plugin does not support this host's API version",
        found=f"host API {', '.join([policy.host_api, *older])}",
        expected=str(manifest.api_version),
    )


def check_embedded(manifest: SignedManifest, snapshot: Snapshot) -> None:
    """Step 7: a manifest inside the wheel says what the signed one says.

    Raises:
        Refused: ``manifest.embedded-count``, ``manifest.embedded``; FormatError for a malformed one.
    """
    found = _embedded_paths(snapshot)
    if len(found) > 1:
        raise Refused("manifest.embedded-count", "the wheel embeds several manifests", found=", ".join(found))
    if found:
        embedded = parse_manifest(snapshot.files[found[0]], what=f"embedded manifest {found[0]}")
        declared = manifest.declared
        differing = [
            field
            for field in declared.__struct_fields__
            if _same_json(getattr(embedded, field)) != _same_json(getattr(declared, field))
        ]
        if differing:
            raise Refused(
                "manifest.embedded",
                "the embedded manifest differs from the signed one",
                found=f"different: {', '.join(differing)}",
                expected="the same declaration in both",
            )


def check_embedded_where_demanded(tier: TierRule, snapshot: Snapshot) -> None:
    """Step 12: the wheel embeds its manifest, where the tier demands it; :func:`check_embedded` compared the two.

    Raises:
        Refused: ``manifest.embedded``.
    """
    if "embedded-manifest" in tier.require and not _embedded_paths(snapshot):
        raise Refused("manifest.embedded", "the tier demands an embedded manifest", found="none", expected=FILE_NAME)


def check_sbom(manifest: SignedManifest, attested: Attested, snapshot: Snapshot) -> Sbom:
    """Step 8: the SBOM is the pinned one, describes this wheel, and its components are allowed; what it says.

    Raises:
        Refused: a ``sbom.*`` code; FormatError: ``format.too-large``.
    """
    digest = Digest.of(attested.statement.predicate)
    if digest != manifest.sbom_digest:
        raise Refused(
            "sbom.digest", "the SBOM is not the one that the manifest pins", found=digest, expected=manifest.sbom_digest
        )
    sbom = parse_sbom(attested.statement.predicate)
    described = (normalised(sbom.name), sbom.version, sbom.wheel)
    if described != (snapshot.name, snapshot.version, snapshot.digest):
        raise Refused(
            "sbom.subject",
            "the SBOM describes another component",
            found=f"{sbom.name[:SHOWN]!a} {sbom.version[:SHOWN]!a}, {sbom.wheel}",
            expected=f"{snapshot.name!r} {snapshot.version!r}, {snapshot.digest}",
        )
    provided = _specifiers(manifest.host_provided)
    allowed = _specifiers((*manifest.sdk_allowlist, *manifest.host_provided))
    named = [(normalised(component.name), component) for component in sbom.components]
    if sum(len(allowed.get(name, ())) for name, _ in named) > MAX_COMPARED:
        raise FormatError(
            "format.too-large", "the SBOM lists too many components for so long an sdk_allowlist",
            found=f"{len(named)} components, {len(manifest.sdk_allowlist)} requirements",
            expected=f"at most {MAX_COMPARED} pairs of one name",
        )  # fmt: skip
    strange = []
    for name, component in named:
        # Which version of what the host provides runs is the host's business, and check_dependencies asks for it.
        of_the_host = not component.version and name in provided
        if not of_the_host and not any(versions.admit(component.version) for versions in allowed.get(name, ())):
            strange.append((name, component))
    if strange:
        raise _not_allowed(strange, allowed)
    _check_lists_locked(sbom, manifest)
    return sbom


def _not_allowed(strange: Sequence[tuple[str, Component]], allowed: Mapping[str, Sequence[Versions]]) -> Refused:
    """All of them at once: whoever mends the list one by one builds the plugin anew each time."""
    shown = [f"{component.name[:SHOWN]!a} {component.version[:SHOWN]!a}" for _, component in strange[:MOST_SHOWN]]
    more = len(strange) - len(shown)
    limits = [f"{name}{specifier}" for name, _ in strange[:MOST_SHOWN] for specifier in allowed.get(name, ())[:5]]
    return Refused(
        "sbom.not-allowed",
        "a component is not on the plugin's sdk_allowlist",
        found=", ".join(shown) + (f" and {more} more" if more else ""),
        expected=", ".join(limits) or "no such component",
    )


def _check_lists_locked(sbom: Sbom, manifest: SignedManifest) -> None:
    """A dependency that the SBOM left out would escape whatever is said of components."""
    listed = {(normalised(component.name), component.version) for component in sbom.components}
    for dependency in manifest.dependencies:
        if (dependency.name, dependency.version) not in listed:
            raise Refused(
                "sbom.incomplete",
                "the SBOM does not list a locked dependency",
                found=f"no {dependency.name} {dependency.version}",
            )


def _embedded_paths(snapshot: Snapshot) -> list[str]:
    ending = [path for path in snapshot.files if path.endswith(FILE_NAME)]
    return sorted(path for path in ending if path.rpartition("/")[2] == FILE_NAME)


def _same_json(value: Any) -> bytes:
    """A value's one spelling: in Python ``True == 1 == 1.0``, and in a manifest these are three things."""
    return msgspec.json.encode(plain(value), order="sorted")


def _specifiers(requirements: Iterable[RequirementText]) -> dict[str, list[Versions]]:
    """The bounds by normalised name, parsed once: an SBOM may list thousands of components."""
    found: dict[str, list[Versions]] = {}
    for requirement in requirements:
        project, versions = requirement.bounds
        found.setdefault(project, []).append(versions)
    return found
