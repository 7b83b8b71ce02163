"""The deployment itself: people, policy, trust metadata, revocation list, plugins, and a host that verifies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from loadlock.testing.documents import Documents
from loadlock.testing.people import Person
from loadlock.testing.repository import TufRepository
from tests import wheels
from tests.simulator.claims import Claim, Claims
from tests.simulator.findings import BOUNDS, audit, checks
from verifier.deployment.trust import Trust, verify_trust
from verifier.formats.enrolment import Floor
from verifier.formats.manifest import ISOLATIONS
from verifier.formats.statement import (
    BUILD_TYPE,
    CERTIFICATION,
    CERTIFICATION_FIELD,
    MANIFEST,
    PROVENANCE,
    SBOM,
    TEST_RESULT,
    VULNERABILITIES,
)
from verifier.formats.strict_json import dumps
from verifier.formats.text import Name, PluginId, Time
from verifier.judging.decide import Request
from verifier.judging.steps import Outcome
from verifier.judging.verify import Ground, VerifiedPlugin, verify
from verifier.revocation.revocation_list import RevocationList
from verifier.revocation.revocations import apply_head, open_list

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
"""When everything was signed, unless a test says otherwise."""
EVERYTHING = Request(isolations=frozenset(ISOLATIONS))
"""A host that can isolate as any tier requires."""

BUILDER_ID = "https://host.example/ci/builder"
COMMIT = "c0ffee" * 6 + "c0ff"
REPOSITORY = "https://host.example/plugins/{}.git"
PLUGINS = {"sample-plugin": "", "other-plugin": "other-"}
"""The plugins that the policy knows, and the prefix of the people who are responsible for each."""

REBUILDERS = ("rebuilder", "second-rebuilder")
"""Who may rebuild ``sample-plugin``."""


@dataclass(frozen=True)
class PluginWheel:
    """A wheel as it would lie on disk, and what its makers know of it."""

    file_name: str
    data: bytes
    name: str
    version: str
    record: bytes

    @property
    def digest(self) -> str:
        """``sha256:`` of the whole file."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    @property
    def plugin_id(self) -> str:
        """The id that belongs to its name."""
        return PluginId.of(self.name)


class Simulator:
    """One deployment, one host.

    The policy names, for ``sample-plugin``: ``builder``, ``owner``, ``certifier``, and the rebuilders ``rebuilder`` and
    ``second-rebuilder``; for ``other-plugin``: ``other-builder``, ``other-owner``, ``other-certifier``. A ``stranger``
    has a key that the policy does not know.
    The tiers: ``core`` (in process, certified), ``vetted`` (own process, certified), ``untrusted`` (sandbox).

    Attributes:
        people: everybody who has a key, by name.
        rules: the policy as plain JSON values, in force once published.
        repository: the TUF repository.
        lists: what makes checkpoints, heads and their files, with the head key.
        head: the signed head in force.
        next_head: a head that the host applies over ``head``, if any.
        floor, time_floor, enrolled: what the host was enrolled with and has seen.
        pinned: the host's pinned root.
    """

    def __init__(self, now: datetime = NOW, deployment: str = "acme") -> None:
        self.started = now
        self.deployment = deployment
        names = [prefix + role for prefix in PLUGINS.values() for role in ("builder", "owner", "certifier")]
        names += REBUILDERS
        self.people = {name: Person(name, "ed25519" if "owner" in name else "ecdsa-p256") for name in names}
        self.people["stranger"] = Person("stranger")
        self.lists = Documents(deployment)
        self.rules = self._honest_policy(names)
        self.repository = TufRepository(now, dumps(self.rules), self.lists.checkpoint())
        self.revoked: list[str] = []
        self.head = self.lists.head(now)
        self.next_head: bytes | None = None
        self.floor = Floor(root=1, targets=1, epoch=1, seq=0)
        self.time_floor = Time.of(now)
        self.enrolled = deployment
        self.pinned = self.repository.pinned

    # -- what security staff do ----------------------------------------------------------------------------------------

    def policy(self, path: str, value: Any, now: datetime | None = None) -> None:
        """Change one place of the policy (``"tiers.core.grace"``), sign it and publish it."""
        put(self.rules, path, value)
        self.repository.publish_policy(now or self.started, dumps(self.rules))

    def trusted_root(self, name: str, root: bytes, now: datetime | None = None, **rule: Any) -> None:
        """Let the policy name a Sigstore's trusted root, and publish both; ``rule`` are further fields of its rule."""
        self.repository.set_target(self.repository.targets, f"trusted_root.{name}.json", root)
        self.rules.setdefault("trusted_roots", {})
        self.policy(f"trusted_roots.{name}", {"digest": f"sha256:{hashlib.sha256(root).hexdigest()}", **rule}, now)

    def revoke(self, *digests: str, now: datetime | None = None) -> None:
        """Put artifacts on the revocation list."""
        self.revoked += digests
        self.publish_head(now)

    def publish_head(self, now: datetime | None = None, **fields: Any) -> None:
        """Sign a head over everything revoked so far; ``fields`` override its fields, whatever they are worth."""
        hexadecimal = [digest.removeprefix("sha256:") for digest in self.revoked]
        self.head = self.lists.head(now or self.started, revoked=hexadecimal, **fields)

    # -- what a plugin's people do -------------------------------------------------------------------------------------

    def wheel(
        self,
        name: str = "sample-plugin",
        version: str = "1.0",
        *,
        requires: Iterable[str] = (),
        files: Mapping[str, bytes] | None = None,
        unrecorded: Mapping[str, bytes] | None = None,
        file_name: str | None = None,
    ) -> PluginWheel:
        """A wheel whose package says hello.

        Args:
            name: the project's name.
            version: its version.
            requires: its requirements.
            files: further files, or other content for those it has; RECORD covers them.
            unrecorded: files that RECORD does not know.
            file_name: another name than it should have.
        """
        module = f"{name.replace('-', '_')}/__init__.py"
        honest = wheels.wheel_files(
            {module: "def hello() -> str:\n    return 'hello'\n"},
            name=name,
            version=version,
            metadata_lines=[f"Requires-Dist: {text}" for text in requires],
        )
        dist_info = f"{name.replace('-', '_')}-{version}.dist-info"
        record = honest.pop(f"{dist_info}/RECORD")
        if files:
            honest |= files
            record = wheels.record(honest, dist_info)
        honest |= {f"{dist_info}/RECORD": record, **(unrecorded or {})}
        usual = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        return PluginWheel(file_name or usual, wheels.pack_files(honest), name, version, record)

    def declaration(self, wheel: PluginWheel) -> dict[str, Any]:
        """What the owner of a wheel declares, without what only the build knows: an honest PLUGIN_MANIFEST.json."""
        package = wheel.name.replace("-", "_")
        return {
            "v": 1,
            "plugin_id": wheel.plugin_id,
            "version": wheel.version,
            "description": "Says hello.",
            "owner": PLUGINS.get(wheel.name, "") + "owner",
            "kind": "exporter",
            "api_version": ">=1.0,<2.0",
            "maturity": "stable",
            "entry_points": {"exporters": {"hello": f"{package}:hello"}},
            "config_defaults": {"rows": 1},
            "expires_at": Time.of(self.started + timedelta(days=200)),
            "capabilities": [{"name": "network", "rationale": "sends reports to the archive"}],
            "allowed_egress": [{"host": "archive.host.example", "schemes": ["https"], "ports": [443]}],
            "max_classification": "internal",
            "sdk_allowlist": ["attrs>=25"],
            "host_provided": ["attrs>=25"],
        }

    def claims(self, wheel: PluginWheel) -> Claims:
        """The honest statements about a wheel, pinned to one another and ready to be made wrong."""
        prefix = PLUGINS.get(wheel.name, "")
        claims = Claims()
        for title, predicate_type, predicate, role in (
            ("manifest", MANIFEST, self._manifest(wheel), "owner"),
            ("sbom", SBOM, _sbom(wheel), "builder"),
            ("provenance", PROVENANCE, _provenance(wheel), "builder"),
            ("certification", CERTIFICATION, self._certification(wheel), "certifier"),
        ):
            subject = {"name": wheel.file_name, "digest": {"sha256": wheel.digest.removeprefix("sha256:")}}
            claims[title] = Claim(predicate_type, predicate, self.people[prefix + role], [subject])
        claims.pin()
        return claims

    def lock(self, claims: Claims, *wheels: PluginWheel) -> None:
        """Lock wheels as dependencies: in the manifest, in the SBOM and on the allow-list, pinned again."""
        manifest, sbom = claims["manifest"].predicate, claims["sbom"].predicate
        for wheel in wheels:
            locked = {"name": wheel.name, "version": wheel.version, "sha256": wheel.digest}
            manifest.setdefault("dependencies", []).append(locked)
            manifest["sdk_allowlist"].append(wheel.name)
            sbom["components"].append(
                {
                    "type": "library",
                    "name": wheel.name,
                    "version": wheel.version,
                    "purl": f"pkg:pypi/{wheel.name}@{wheel.version}",
                    "hashes": [{"alg": "SHA-256", "content": wheel.digest.removeprefix("sha256:")}],
                }
            )
        claims.pin()

    def add_findings(self, claims: Claims, wheel: PluginWheel) -> None:
        """Add an honest audit and release checklist to the statements about a wheel, and let them be certified."""
        sbom = claims["sbom"]
        for title, predicate_type, predicate in (
            ("audit", VULNERABILITIES, audit(self.started)),
            ("checks", TEST_RESULT, checks(COMMIT)),
        ):
            claims[title] = Claim(predicate_type, predicate, sbom.signer, sbom.subjects)
        claims.pin()

    def demand_findings(self, tier: str = "core", now: datetime | None = None, **bounds: Any) -> None:
        """Let a tier demand both; ``bounds`` are fields in place of those of :data:`BOUNDS`; None takes one out."""
        rule = self.rules["tiers"][tier]
        rule["require"] = sorted({*rule["require"], "vulnerabilities", "test-result"})
        fields = {**rule, **BOUNDS, **bounds}
        self.policy(f"tiers.{tier}", {name: value for name, value in fields.items() if value is not None}, now)

    def rebuild(self, wheel: PluginWheel, rebuilder: str) -> Claim:
        """The honest statement of somebody who rebuilt a wheel to the same bytes."""
        subject = {"name": wheel.file_name, "digest": {"sha256": wheel.digest.removeprefix("sha256:")}}
        predicate = _provenance(wheel)
        predicate["runDetails"]["builder"]["id"] = f"https://host.example/{rebuilder}"
        said = {"provenance": self.claims(wheel)["provenance"].digest, "verdicts": {wheel.digest: "bit-identical"}}
        predicate["buildDefinition"]["internalParameters"] = {"rebuild": said}
        return Claim(PROVENANCE, predicate, self.people[rebuilder], [subject])

    def attest(self, wheel: PluginWheel) -> bytes:
        """The honest attestation set of a wheel."""
        return self.claims(wheel).sign()

    # -- what a host does ----------------------------------------------------------------------------------------------

    def trust(self) -> Trust:
        """The published trust, verified from the pinned root."""
        return verify_trust(self.pinned, self.repository.local_metadata(), self.repository.targets_files)

    def revocations(self, now: datetime | None = None, trust: Trust | None = None) -> RevocationList:
        """The published list, opened, and followed by ``next_head`` if there is one."""
        trust, now = trust or self.trust(), now or self.started
        current = open_list(self.head, self._file, trust, now)
        if self.next_head is None:
            return current
        return apply_head(current, self.next_head, self._file, trust, now)

    def ground(self, now: datetime | None = None) -> Ground:
        """What the host judges by at ``now``, opened as it would be from its disk."""
        moment = max(now or self.started, self.time_floor.instant)
        trust = self.trust()
        return Ground(
            deployment=Name(self.enrolled),
            floor=self.floor,
            trust=trust,
            revocations=self.revocations(moment, trust),
            time_floor=self.time_floor,
        )

    def verify(
        self,
        wheel: PluginWheel,
        attestations: bytes | None,
        now: datetime | None = None,
        request: Request = EVERYTHING,
        observe: Callable[[Outcome], None] | None = None,
    ) -> VerifiedPlugin:
        """Verify a wheel with its set at ``now``, from the pinned root on."""
        now = now or self.started
        return verify(wheel.data, wheel.file_name, attestations, self.ground(now), now, request, observe)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _file(self, kind: str, sha256: str) -> bytes:
        return self.lists.files.get((kind, sha256), b"missing")

    def _honest_policy(self, names: Iterable[str]) -> dict[str, Any]:
        keys = {person.public.id: person.public.entry for person in self.people.values() if person.name != "stranger"}
        policy: dict[str, Any] = json.loads(self.lists.policy(self.started))  # names the head key
        policy["head_keys"][0]["not_after"] = Time.of(self.started + timedelta(days=60))
        policy["keys"] |= {name: {"alg": entry.alg, "spki": entry.spki} for name, entry in keys.items()}
        policy["principals"] = {
            name: {"mode": "key", "key": self.people[name].public.id, "status": "active", "accepted": []}
            for name in names
        }
        policy["plugins"] = {
            PluginId.of(plugin): {
                "builders": [prefix + "builder"],
                "owners": [prefix + "owner"],
                "certifiers": [prefix + "certifier"],
                "source": {"repository": REPOSITORY.format(plugin)},
            }
            for plugin, prefix in PLUGINS.items()
        }
        policy["plugins"]["sample_plugin"]["rebuilders"] = [*REBUILDERS]
        policy["certifiers"] = {prefix + "certifier": {"max_tier": "core"} for prefix in PLUGINS.values()}
        evidence = ["provenance", "sbom"]
        policy["tiers"] = {
            "core": {"isolation": "in-process", "require": [*evidence, "certification"], "grace": "PT24H"},
            "vetted": {"isolation": "process", "require": [*evidence, "certification"], "grace": "PT48H"},
            "untrusted": {"isolation": "sandbox", "require": evidence, "grace": "PT0S"},
        }
        return policy

    def _manifest(self, wheel: PluginWheel) -> dict[str, Any]:
        return {
            **self.declaration(wheel),
            "artifact_digest": wheel.digest,
            "record_digest": f"sha256:{hashlib.sha256(wheel.record).hexdigest()}",
            "built_by": BUILDER_ID,
            "built_at": Time.of(self.started),
            "source": {"repository": REPOSITORY.format(wheel.name), "commit": COMMIT},
        }

    def _certification(self, wheel: PluginWheel) -> dict[str, Any]:
        return {
            "verifier": {"id": "https://host.example/security"},
            "timeVerified": Time.of(self.started),
            "resourceUri": f"pkg:pypi/{wheel.name}@{wheel.version}",
            "policy": {"uri": "https://host.example/policy"},
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_2"],
            "slsaVersion": "1.0",
            CERTIFICATION_FIELD: {"tier": "core", "expires": Time.of(self.started + timedelta(days=100))},
        }


def _sbom(wheel: PluginWheel) -> dict[str, Any]:
    digest = {"alg": "SHA-256", "content": wheel.digest.removeprefix("sha256:")}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {
            "component": {"type": "library", "name": wheel.name, "version": wheel.version, "hashes": [digest]}
        },
        "components": [{"type": "library", "name": "attrs", "version": "25.4.0", "purl": "pkg:pypi/attrs@25.4.0"}],
    }


def _provenance(wheel: PluginWheel) -> dict[str, Any]:
    repository = REPOSITORY.format(wheel.name)
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"repository": repository, "ref": "refs/tags/v1.0"},
            "resolvedDependencies": [
                {"name": "source", "uri": f"git+{repository}", "digest": {"gitCommit": COMMIT}},
                {"name": "interpreter", "uri": "pkg:generic/cpython@3.11.7", "digest": {"sha256": "1" * 64}},
            ],
        },
        "runDetails": {"builder": {"id": BUILDER_ID}},
    }


def put(document: Any, path: str, value: Any) -> None:
    """Set the place ``path`` (keys and list positions, joined by dots) of plain JSON values; None removes it."""
    *parents, last = path.split(".")
    for key in parents:
        document = document[int(key) if isinstance(document, list) else key]
    if value is None:
        del document[int(last) if isinstance(document, list) else last]
    elif isinstance(document, list):
        document[int(last) : int(last) + 1] = [value]
    else:
        document[last] = value
