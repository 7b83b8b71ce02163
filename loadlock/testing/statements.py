"""Honest statements about any wheel, to be made wrong in one place before they are signed."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from configparser import ConfigParser
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from packaging.utils import canonicalize_name

from loadlock.testing.people import Person
from verifier.formats import dsse
from verifier.formats.bundle import Bundle, dump_bundle
from verifier.formats.statement import (
    BUILD_TYPE,
    CERTIFICATION,
    CERTIFICATION_FIELD,
    MANIFEST,
    PROVENANCE,
    SBOM,
    STATEMENT_TYPE,
)
from verifier.formats.strict_json import dumps
from verifier.formats.text import PluginId, Time
from verifier.judging.dependencies import requirements_of
from verifier.wheels.wheel import Snapshot

BUILDER_ID = "https://ci.example/builder"
COMMIT = "0" * 39 + "1"
REPOSITORY = "https://host.example/plugins/{}.git"
LIFE = timedelta(days=200)
"""How long a manifest is valid; its certification for half of that."""


def make_wheel(
    modules: Mapping[str, str | bytes], name: str, version: str, requires: Iterable[str] = (), tag: str = "py3-none-any"
) -> tuple[str, bytes]:
    """A wheel of these files: its file name, and its bytes.

    Args:
        modules: path inside the wheel to content.
        name: the project's name.
        version: its version.
        requires: its requirements.
        tag: what it is built for.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = ["Metadata-Version: 2.3", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {text}" for text in requires]
    wheel = ["Wheel-Version: 1.0", "Generator: loadlock.testing", "Root-Is-Purelib: true", f"Tag: {tag}"]
    files = {path: text.encode() if isinstance(text, str) else text for path, text in modules.items()}
    for leaf, lines in (("METADATA", metadata), ("WHEEL", wheel)):
        files[f"{stem}.dist-info/{leaf}"] = "\n".join([*lines, ""]).encode()
    files[f"{stem}.dist-info/RECORD"] = _record(files, f"{stem}.dist-info/RECORD")
    return f"{stem}-{tag}.whl", _pack(files)


def _record(files: Mapping[str, bytes], own: str) -> bytes:
    rows = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content)}")
    return "\n".join([*rows, f"{own},,", ""]).encode()


def _pack(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


@dataclass
class Statement:
    """One statement before it is signed.

    Attributes:
        kind: its predicate type.
        predicate: plain JSON values.
        signer: who signs it.
        subject: the digest of the wheel that it is about.
    """

    kind: str
    predicate: dict[str, Any]
    signer: Person
    subject: str

    def payload(self, file_name: str) -> bytes:
        """What is signed."""
        subject = {"name": file_name, "digest": {"sha256": self.subject.removeprefix("sha256:")}}
        predicate = msgspec.Raw(dumps(self.predicate))
        return dumps(
            {"_type": STATEMENT_TYPE, "subject": [subject], "predicateType": self.kind, "predicate": predicate}
        )

    def sign(self, file_name: str) -> bytes:
        """The statement as a line of an attestation set."""
        payload = self.payload(file_name)
        signature = dsse.Signature(keyid="", sig=self.signer.sign(dsse.pae(dsse.IN_TOTO, payload)))
        envelope = dsse.Envelope(payload_type=dsse.IN_TOTO, unverified_payload=payload, signatures=(signature,))
        return dump_bundle(Bundle(hint=self.signer.public.hint, envelope=envelope)) + b"\n"


@dataclass
class Release:
    """A wheel and what is said of it.

    Attributes:
        snapshot: the wheel, read.
        statements: by title: ``manifest``, ``sbom``, ``provenance``, ``certification``.
        pinned: whether SBOM and evidence are pinned anew when the set is signed.
    """

    snapshot: Snapshot
    statements: dict[str, Statement] = field(default_factory=dict)
    pinned: bool = True

    def sign(self) -> bytes:
        """The attestation set."""
        if self.pinned:
            self.pin()
        return b"".join(statement.sign(self.snapshot.file_name) for statement in self.statements.values())

    def pin(self) -> None:
        """Let the manifest pin the SBOM, and the certification all other statements."""
        said = self.statements
        if "sbom" in said and "manifest" in said:
            said["manifest"].predicate["sbom_digest"] = _digest(dumps(said["sbom"].predicate))
        if "certification" in said:
            said["certification"].predicate["inputAttestations"] = [
                {
                    "uri": other.kind,
                    "digest": {"sha256": hashlib.sha256(other.payload(self.snapshot.file_name)).hexdigest()},
                }
                for title, other in said.items()
                if title != "certification"
            ]


def honest(
    snapshot: Snapshot,
    people: Mapping[str, Person],
    now: datetime,
    *,
    host_api: str = "1.0",
    tier: str = "core",
    locks: Sequence[Snapshot] = (),
    manifest: Mapping[str, Any] | None = None,
) -> Release:
    """Everything that is needed of a wheel, said honestly.

    Args:
        snapshot: the wheel.
        people: ``builder``, ``owner`` and ``certifier``.
        now: when it is said (aware, UTC).
        host_api: the API version that the plugin takes.
        tier: what it is certified for.
        locks: the wheels that it locks; what it requires beside them the host provides.
        manifest: fields of the signed manifest in the place of honest ones. Entry points are those of the wheel's own
            metadata unless they are given here.
    """
    parts = (
        ("manifest", MANIFEST, _manifest(snapshot, now, host_api, locks) | dict(manifest or {}), "owner"),
        ("sbom", SBOM, _sbom(snapshot, locks), "builder"),
        ("provenance", PROVENANCE, _provenance(snapshot), "builder"),
        ("certification", CERTIFICATION, _certification(snapshot, now, tier), "certifier"),
    )
    return Release(
        snapshot,
        {title: Statement(kind, said, people[role], snapshot.digest) for title, kind, said, role in parts},
    )


def _manifest(snapshot: Snapshot, now: datetime, host_api: str, locks: Sequence[Snapshot]) -> dict[str, Any]:
    locked = {wheel.name for wheel in locks}
    required = {
        canonicalize_name(requirement.name): str(requirement.specifier)
        for _, requirement in requirements_of(snapshot, locks)
    }
    return {
        "v": 1,
        "plugin_id": PluginId.of(snapshot.name),
        "version": snapshot.version,
        "description": "A plugin that a test made.",
        "owner": "owner",
        "kind": "exporter",
        "api_version": f">={host_api}",
        "maturity": "stable",
        "entry_points": _entry_points(snapshot),
        "expires_at": Time.of(now + LIFE),
        "max_classification": "internal",
        "sdk_allowlist": sorted(locked),
        "host_provided": [name + specifier for name, specifier in required.items() if name not in locked],
        "dependencies": [{"name": wheel.name, "version": wheel.version, "sha256": wheel.digest} for wheel in locks],
        "artifact_digest": snapshot.digest,
        "record_digest": snapshot.record_digest,
        "built_by": BUILDER_ID,
        "built_at": Time.of(now),
        "source": {"repository": REPOSITORY.format(snapshot.name), "commit": COMMIT},
    }


def _entry_points(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """What the wheel states itself; else all of its top-level modules under ``plugins``."""
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parser.read_string(snapshot.files.get(f"{snapshot.dist_info}/entry_points.txt", b"").decode())
    stated = {group: dict(parser[group]) for group in parser.sections()}
    return stated or {"plugins": {name: name for name in sorted(snapshot.top_levels)}}


def _sbom(snapshot: Snapshot, locks: Sequence[Snapshot]) -> dict[str, Any]:
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {"component": _component(snapshot)},
        "components": [{**_component(wheel), "purl": f"pkg:pypi/{wheel.name}@{wheel.version}"} for wheel in locks],
    }


def _component(wheel: Snapshot) -> dict[str, Any]:
    digest = {"alg": "SHA-256", "content": wheel.digest.removeprefix("sha256:")}
    return {"type": "library", "name": wheel.name, "version": wheel.version, "hashes": [digest]}


def _provenance(snapshot: Snapshot) -> dict[str, Any]:
    repository = REPOSITORY.format(snapshot.name)
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"repository": repository, "ref": "refs/heads/main"},
            "resolvedDependencies": [
                {"name": "source", "uri": f"git+{repository}", "digest": {"gitCommit": COMMIT}},
            ],
        },
        "runDetails": {"builder": {"id": BUILDER_ID}},
    }


def _certification(snapshot: Snapshot, now: datetime, tier: str) -> dict[str, Any]:
    return {
        "verifier": {"id": "https://host.example/security"},
        "timeVerified": Time.of(now),
        "resourceUri": f"pkg:pypi/{snapshot.name}@{snapshot.version}",
        "policy": {"uri": "https://host.example/policy"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_2"],
        "slsaVersion": "1.0",
        CERTIFICATION_FIELD: {"tier": tier, "expires": Time.of(now + LIFE / 2)},
    }


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
