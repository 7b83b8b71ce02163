"""The order of the steps from a source to a described, signed and verified wheel. Nothing is written here.

    describe the source → read its manifest → build twice → read the wheel → lock dependencies → SBOM → provenance →
    complete the manifest → leak gate → sign as the builder → verify own output

A wheel that was built elsewhere enters at "read the wheel" and gets no provenance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from attestor.building.build import BuildResult, Sdist, build
from attestor.building.source import Source, describe
from attestor.building.variation import build_twice
from attestor.building.wheelhouse import LockedWheel, Wheelhouse
from attestor.checking.review import Keys, check_manifest, review
from attestor.describing import sbom
from attestor.describing.dependencies import Dependencies, find_dependencies
from attestor.describing.embedded import check_embedded_sbom
from attestor.describing.manifest import complete, manifest_in, read_manifest
from attestor.describing.provenance import LOCAL_BUILDER, make_provenance
from attestor.signing.signers import Signer
from attestor.signing.statements import Draft, draft, gate_of
from verifier.errors import UsageError
from verifier.files import read_capped
from verifier.formats.bundle import dump_set
from verifier.formats.manifest import Manifest, SignedManifest, dump_manifest
from verifier.formats.statement import MANIFEST, PROVENANCE, SBOM
from verifier.formats.strict_json import dumps
from verifier.formats.text import Digest
from verifier.progress import SILENT, Progress
from verifier.wheels.wheel import DEFAULT_LIMITS, Snapshot, read_wheel

#: What ``built_by`` says of a wheel that was not built by us.
ELSEWHERE = "https://loadlock.dev/builders/elsewhere"


@dataclass(frozen=True)
class Options:
    """What an attestation may be told beside its source.

    Args:
        manifest: a manifest file; None: the source's own.
        house: where build requirements and dependencies come from.
        builder_id: the URI of this builder.
        invocation_id: the URI of the CI run; empty when there is none.
        config_settings: options for the build backend.
        once: build once, and say in the provenance that reproducibility was not checked.
        sdist: build the sdist beside the wheel; the provenance says which it was.
        sbom_version: of CycloneDX.
        embedded_sbom: demand that the wheel embeds the SBOM of its dependencies (PEP 770).
    """

    manifest: Path | None = None
    house: Wheelhouse = field(default_factory=Wheelhouse)
    builder_id: str = LOCAL_BUILDER
    invocation_id: str = ""
    config_settings: Mapping[str, str] = field(default_factory=dict)
    once: bool = False
    sdist: bool = False
    sbom_version: sbom.Version = "1.6"
    embedded_sbom: bool = False


@dataclass(frozen=True)
class Attestation:
    """The outcome: everything that is handed over.

    Args:
        file_name: the wheel's file name.
        wheel: its bytes.
        attestations: the attestation set with the builder's statements.
        manifest: the completed manifest.
        unsigned: the manifest's statement, which awaits its owner.
        locked: the wheels that the manifest locks.
        log: what the build printed; empty for a wheel built elsewhere.
        sdist: the sdist that was built beside it, if any.
    """

    file_name: str
    wheel: bytes
    attestations: bytes
    manifest: SignedManifest
    unsigned: bytes
    locked: tuple[LockedWheel, ...] = ()
    log: bytes = b""
    sdist: Sdist | None = None


@dataclass(frozen=True)
class Described:
    """A wheel and all that the builder has to say of it, not signed yet.

    Args:
        file_name: the wheel's file name.
        wheel: its bytes.
        drafts: the builder's statements.
        manifest: the completed manifest.
        covenant: the manifest's statement, which awaits its owner.
        locked: the wheels that the manifest locks.
        log: what the build printed; empty for a wheel built elsewhere.
        sdist: the sdist that was built beside it, if any.
    """

    file_name: str
    wheel: bytes
    drafts: tuple[Draft, ...]
    manifest: SignedManifest
    covenant: Draft
    locked: tuple[LockedWheel, ...] = ()
    log: bytes = b""
    sdist: Sdist | None = None

    def signed(self, builder: Signer) -> bytes:
        """The set with the builder's statements."""
        return dump_set(tuple(entry.sign(builder) for entry in self.drafts))


@dataclass(frozen=True)
class _Origin:
    """Where a wheel came from: the build, or nothing that is known."""

    build: BuildResult | None
    built_by: str
    at: datetime
    timestamp: datetime

    @property
    def source(self) -> Source | None:
        return self.build.source if self.build else None


def attest_source(
    path: Path, options: Options, builder: Signer, *, now: datetime, progress: Progress = SILENT
) -> Attestation:
    """Build the source at ``path`` and attest the wheel as the builder.

    Args:
        path: a directory inside a git repository, or an sdist file.
        options: see there.
        builder: the builder's key.
        now: the moment, aware, UTC.
        progress: is told of the steps.

    Raises:
        Refused: ``source.*``, ``build.*``, ``wheel.*``, ``manifest.*``, ``sbom.*``, ``leak.found``.
        FormatError: a manifest is malformed.
        Unreachable: ``unreachable.index``.
    """
    return sign(describe_source(path, options, now=now, progress=progress), builder, progress=progress)


def attest_wheel(
    path: Path, options: Options, builder: Signer, *, now: datetime, progress: Progress = SILENT
) -> Attestation:
    """Attest a wheel that was built elsewhere: no provenance is claimed for it.

    Args and raises: as :func:`attest_source`, with ``path`` the wheel. ``options.manifest`` has to be given.
    """
    return sign(describe_wheel(path, options, now=now, progress=progress), builder, progress=progress)


def describe_source(path: Path, options: Options, *, now: datetime, progress: Progress = SILENT) -> Described:
    """Build the source at ``path`` and describe the wheel; args and raises as :func:`attest_source`."""
    with progress.step("source") as step:
        source = describe(path)
        step.says(f"commit {source.commit[:12]}" if source.kind == "git" else f"sdist sha256:{source.sha256[:12]}…")
    if options.sdist and source.kind == "sdist":
        raise UsageError("usage.arguments", "the source is an sdist already", todo="Leave --sdist out.")
    with progress.step("manifest") as step:
        manifest = read_manifest(options.manifest) if options.manifest else manifest_in(source)
        step.says(_title(manifest))
    with progress.step("build") as step:
        make = build if options.once else build_twice
        made = make(source, options.house, now=now, config_settings=options.config_settings, sdist=options.sdist)
        network = "no network" if made.fixed.network == "none" else "network could not be cut"
        step.says(f"{made.file_name}, {len(made.inputs)} locked build wheels, {network}")
    varied = f"bit-identical under {len(made.varied)} varied conditions"
    progress.done("build again", "left out" if options.once else varied)
    if made.sdist is not None:
        progress.done("sdist", f"{made.sdist.file_name}, {made.sdist.reproducibility}")
    origin = _Origin(made, options.builder_id, made.finished, datetime.fromtimestamp(source.epoch, UTC))
    return _describe(made.wheel, made.file_name, manifest, origin, options, progress)


def describe_wheel(path: Path, options: Options, *, now: datetime, progress: Progress = SILENT) -> Described:
    """Describe a wheel that was built elsewhere; args and raises as :func:`attest_wheel`."""
    if options.manifest is None:
        raise UsageError("manifest.missing", "a wheel needs its manifest named", expected="--manifest FILE")
    with progress.step("manifest") as step:
        manifest = read_manifest(options.manifest)
        step.says(_title(manifest))
    wheel = read_capped(path, DEFAULT_LIMITS.archive, "the wheel")
    origin = _Origin(None, ELSEWHERE, now, now)
    return _describe(wheel, path.name, manifest, origin, options, progress)


def sign(described: Described, builder: Signer, *, progress: Progress = SILENT) -> Attestation:
    """Sign what was described as the builder, and verify the outcome.

    Raises:
        LoadlockError: what the key raises; whatever :func:`attestor.checking.review.review` refuses.
    """
    with progress.step("sign") as step:
        attestations = described.signed(builder)
        step.says(f"{len(described.drafts)} statements as the builder, {builder.signatory.id}")
    with progress.step("verify own output") as step:
        keys: Keys = {"builder": [builder.signatory]}
        reviewed = review(described.wheel, described.file_name, attestations, keys)
        check_manifest(described.manifest, reviewed)
        step.says("the set reads back, and everything agrees")
    return Attestation(
        described.file_name, described.wheel, attestations, described.manifest, described.covenant.payload,
        described.locked, described.log, described.sdist,
    )  # fmt: skip


def _describe(
    wheel: bytes, file_name: str, manifest: Manifest, origin: _Origin, options: Options, progress: Progress
) -> Described:
    """What both ways share, from the wheel's bytes on."""
    with progress.step("wheel") as step:
        snapshot = read_wheel(wheel, file_name)
        step.says(f"{len(snapshot.files)} files, RECORD complete, {snapshot.digest}")
    with progress.step("dependencies") as step:
        dependencies = find_dependencies(snapshot, manifest.host_provided, options.house)
        step.says(f"{len(dependencies.locked)} locked, {len(dependencies.host)} provided by the host")
    if options.embedded_sbom:
        with progress.step("embedded SBOM") as step:
            expected = sbom.make_embedded_sbom(snapshot, dependencies, version=options.sbom_version)
            step.says(check_embedded_sbom(snapshot, expected))
    with progress.step("SBOM") as step:
        described_by = sbom.make_sbom(
            snapshot, dependencies, timestamp=origin.timestamp, version=options.sbom_version, build=origin.build
        )
        step.says(f"CycloneDX {options.sbom_version}, {len(described_by)} bytes")
    with progress.step("leak gate") as step:
        completed = _complete(manifest, snapshot, described_by, origin, dependencies)
        *described, covenant = _drafts(snapshot, described_by, completed, origin, options)
        step.says(f"{len(described) + 1} statements give nothing away")
    log = origin.build.log if origin.build else b""
    locked = tuple(found.wheel for found in dependencies.locked)
    beside = origin.build.sdist if origin.build else None
    return Described(file_name, wheel, tuple(described), completed, covenant, locked, log, beside)


def _title(manifest: Manifest) -> str:
    return f"{manifest.plugin_id} {manifest.version}, owner {manifest.owner}"


def _complete(
    manifest: Manifest, snapshot: Snapshot, sbom_bytes: bytes, origin: _Origin, dependencies: Dependencies
) -> SignedManifest:
    return complete(
        manifest,
        snapshot,
        sbom_digest=Digest(f"sha256:{hashlib.sha256(sbom_bytes).hexdigest()}"),
        built_by=origin.built_by,
        built_at=origin.at,
        source=origin.source,
        dependencies=dependencies,
    )


def _drafts(
    snapshot: Snapshot, sbom_bytes: bytes, manifest: SignedManifest, origin: _Origin, options: Options
) -> list[Draft]:
    """All statements, the owner's last; every one has passed the gate."""
    gate = gate_of(manifest)
    drafts = []
    if origin.build is not None:
        provenance = make_provenance(
            origin.build, builder_id=options.builder_id, sbom=sbom_bytes, invocation_id=options.invocation_id
        )
        drafts.append(draft(snapshot, PROVENANCE, dumps(provenance), gate))
    drafts.append(draft(snapshot, SBOM, sbom_bytes, gate))
    drafts.append(draft(snapshot, MANIFEST, dump_manifest(manifest), gate))
    return drafts
