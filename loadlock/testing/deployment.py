"""A deployment that lives as long as a test: people, policy, revocation list, a server on loopback, an enrolled host.

with Deployment(tmp_path) as deployment:
plugin = deployment.load({"my_plugin.py": "def csv(rows): return str(rows)"}, name="my-plugin")
deployment.revoke(plugin)                    # the next call of the plugin raises PluginRevoked
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from loadlock.testing.documents import Documents, envelope, sha256
from loadlock.testing.loopback import Loopback
from loadlock.testing.people import Person
from loadlock.testing.repository import TufRepository
from loadlock.testing.statements import Release, honest, make_wheel
from verifier.deployment.artifacts import SET_SUFFIX
from verifier.deployment.home import Home
from verifier.formats import dsse
from verifier.formats.enrolment import Enrolment, Floor, ServerUrl, dump_enrolment, encode_root
from verifier.formats.strict_json import dumps
from verifier.formats.text import Name, PluginId, Time
from verifier.gate import Gate
from verifier.hosting import Plugins, Settings
from verifier.judging.decide import Request
from verifier.plugin import Plugin, take_out
from verifier.refreshing.refresh import Refresher, enroll
from verifier.runtime import stamps
from verifier.wheels.wheel import read_wheel

HEAD_KEY_LIFE = timedelta(days=365)
ROLES = ("builder", "owner", "certifier")
TIERS: dict[str, Any] = {
    "core": {"isolation": "in-process", "require": ["provenance", "sbom", "certification"], "grace": "PT24H"},
    "vetted": {"isolation": "process", "require": ["provenance", "sbom", "certification"], "grace": "PT24H"},
    "untrusted": {"isolation": "sandbox", "require": ["provenance", "sbom"], "grace": "PT0S"},
}
CORE = Request(tier="core")


class Deployment:
    """One deployment and one enrolled host. What the host loads is taken out of the process at the end.

    Everything is signed with keys of the moment. The policy names ``builder``, ``owner`` and ``certifier`` for each
    plugin that is attested; a ``stranger`` has a key that it does not know.

    Args:
        directory: an empty directory; the host's own lies in it as ``host``, its plugins in ``host/plugins``.
        host_api: the API version that the policy says its hosts offer.

    Attributes:
        directory: the host's deployment directory, for ``Gate.open``, ``Plugins.open`` or ``LOADLOCK_DEPLOYMENT``.
        wheels: where attested wheels are put: the host's directory of plugins.
        now: the clock of :meth:`gate` and :meth:`plugins`; move it with :meth:`pass_time`.
        people: who signs, by name.
        policy: the policy in force, as plain JSON values; change it with :meth:`change_policy`.
    """

    def __init__(self, directory: Path, *, host_api: str = "1.0") -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.people = {name: Person(name) for name in (*ROLES, "stranger")}
        self.directory = directory / "host"
        self._host_api = host_api
        self._documents = Documents()
        self.policy = self._first_policy()
        self._repository = TufRepository(self.now, dumps(self.policy), self._documents.checkpoint())
        self._revoked: list[str] = []
        self._server = Loopback()
        self._gates: list[Gate] = []
        self._stamped = stamps.active()

    def __enter__(self) -> Deployment:
        self._server.__enter__()
        self._publish()
        self._server.files["enrolment.json"] = self._enrolment()
        self.home = enroll(self._server.url, self.root, self.directory)
        self.wheels = self.directory / "plugins"
        self.wheels.mkdir()
        self.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all gates, take what they loaded out of this process, and stop the server."""
        for gate in self._gates:
            gate.close()
            for plugin in gate.plugins:
                take_out(plugin)
        self._gates.clear()
        if not self._stamped:
            stamps.uninstall()
        self._server.stop()

    # -- what the host does --------------------------------------------------------------------------------------------

    def clock(self) -> datetime:
        """The moment that the deployment's gates go by."""
        return self.now

    def gate(self, **options: Any) -> Gate:
        """A gate of the host, which goes by this clock and asks for the tier ``core``.

        Args:
            options: those of :class:`verifier.Gate`, in the place of these.
        """
        return self.adopt(Gate(Home(self.directory), **{"clock": self.clock, "request": CORE, **options}))

    def plugins(self, **settings: Any) -> Plugins:
        """The host's plugins, behind a gate that goes by this clock and does not watch.

        Args:
            settings: fields of :class:`verifier.hosting.Settings`.
        """
        wanted = {"deployment": self.directory, "plugins": (self.wheels,), "watch": False, **settings}
        plugins = Plugins(Settings(**wanted), clock=self.clock)
        self.adopt(plugins.gate)
        return plugins

    def adopt(self, gate: Gate) -> Gate:
        """Have a gate that the host itself has opened closed at the end, and its plugins taken out of the process."""
        self._gates.append(gate)
        return gate

    def load(self, source: Mapping[str, str | bytes] | Path, **options: Any) -> Plugin:
        """Attest and load; arguments as :meth:`attest`. All that is loaded so is loaded by one gate."""
        wheel = self.attest(source, **options)
        gate = self._gates[0] if self._gates else self.gate()
        return gate.load(wheel)

    def refresh(self) -> None:
        """Let the host's directory catch up with the server, and the deployment's gates with that."""
        Refresher(Home(self.directory)).refresh(self.now, trust=True)
        for gate in self._gates:
            gate.ground  # noqa: B018 - reading it judges what runs by what was fetched

    def pass_time(self, span: timedelta) -> None:
        """Move the clock; nothing is signed again."""
        self.now += span

    # -- what people do ------------------------------------------------------------------------------------------------

    def attest(
        self,
        source: Mapping[str, str | bytes] | Path,
        *,
        name: str = "test-plugin",
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        tier: str = "core",
        locks: Sequence[Path] = (),
        **manifest: Any,
    ) -> Path:
        """Attest a wheel, and put it with its set among the host's plugins.

        Args:
            source: the files of the wheel, by path; or a wheel that was built, in which case ``name``, ``version`` and
                ``requires`` are its own.
            name: the project's name.
            version: its version.
            requires: its requirements; what is not locked, the manifest says the host provides.
            tier: what it is certified for.
            locks: wheels of dependencies that it locks; they are put into the host's wheelhouse.
            manifest: further fields of the signed manifest, such as ``entry_points``.

        Returns:
            Where the wheel lies.

        Raises:
            Refused: a ``wheel.*`` code, when no host would take this wheel.
        """
        if isinstance(source, Path):
            file_name, data = source.name, source.read_bytes()
        else:
            file_name, data = make_wheel(source, name, version, requires)
        house = self.directory / "wheels"
        house.mkdir(exist_ok=True)
        for locked in locks:
            (house / locked.name).write_bytes(locked.read_bytes())
        return self.put(self.release(file_name, data, tier=tier, locks=locks, **manifest), data)

    def release(
        self, file_name: str, data: bytes, *, tier: str = "core", locks: Sequence[Path] = (), **manifest: Any
    ) -> Release:
        """The honest statements about a wheel, to be made wrong; the policy knows its plugin from now on."""
        snapshot = read_wheel(data, file_name)
        plugin_id = PluginId.of(snapshot.name)
        if plugin_id not in self.policy["plugins"]:
            self.change_policy(f"plugins.{plugin_id}", {f"{role}s": [role] for role in ROLES})
        locked = [read_wheel(path.read_bytes(), path.name) for path in locks]
        return honest(
            snapshot, self.people, self.now, host_api=self._host_api, tier=tier, locks=locked, manifest=manifest
        )

    def put(self, release: Release, data: bytes) -> Path:
        """Sign a release, and put its wheel and its set among the host's plugins."""
        wheel = self.wheels / release.snapshot.file_name
        wheel.write_bytes(data)
        set_beside(wheel).write_bytes(release.sign())
        return wheel

    def revoke(self, *targets: Path | Plugin) -> None:
        """Revoke wheels or loaded plugins; the host has heard of it when this returns."""
        for target in targets:
            if isinstance(target, Plugin):
                self._revoked.append(target.facts.artifact_digest.removeprefix("sha256:"))
            else:
                self._revoked.append(hashlib.sha256(target.read_bytes()).hexdigest())
        self._publish()
        self.refresh()

    def change_policy(self, place: str, value: Any) -> None:
        """Change one place of the policy (``"tiers.core.grace"``), sign it, and let the host hear of it.

        Args:
            place: keys, joined by dots.
            value: plain JSON values; None takes the place out.
        """
        *parents, last = place.split(".")
        table = self.policy
        for key in parents:
            table = table[key]
        if value is None:
            del table[last]
        else:
            table[last] = value
        self._repository.publish_policy(self.now, dumps(self.policy))
        self._publish()
        self.refresh()

    def refuse(self, code: str) -> Path:
        """A wheel that the host's gates refuse with this code; the deployment is changed as far as that needs.

        Args:
            code: one of :data:`loadlock.testing.REFUSALS`.

        Raises:
            KeyError: there is no recipe for this code.
        """
        from loadlock.testing.refusals import REFUSALS

        return REFUSALS[code](self)

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def root(self) -> str:
        """The fingerprint of the root of trust."""
        return f"sha256:{sha256(self._repository.pinned)}"

    @property
    def url(self) -> str:
        """The server's address."""
        return self._server.url

    def _first_policy(self) -> dict[str, Any]:
        policy: dict[str, Any] = json.loads(self._documents.policy(self.now))  # names the head key
        policy["host_api"] = self._host_api
        policy["head_keys"][0]["not_after"] = Time.of(self.now + HEAD_KEY_LIFE)
        named = [self.people[role] for role in ROLES]
        policy["keys"] |= {
            person.public.id: {"alg": person.public.entry.alg, "spki": person.public.entry.spki} for person in named
        }
        policy["principals"] = {
            person.name: {"mode": "key", "key": person.public.id, "status": "active", "accepted": []}
            for person in named
        }
        policy["certifiers"] = {"certifier": {"max_tier": "core"}}
        policy["tiers"] = json.loads(json.dumps(TIERS))
        return policy

    def _publish(self) -> None:
        """Sign a new revocation list, and hand out everything."""
        head = self._documents.head(self.now, revoked=self._revoked)
        files = self._server.files
        files |= {f"trust/{path}": data for path, data in self._repository.history.items()}
        files |= {f"lists/{kind}/{name}": data for (kind, name), data in self._documents.files.items()}
        files["lists/head.json"] = head

    def _enrolment(self) -> bytes:
        enrolment = Enrolment(
            v=1,
            deployment=Name(self._documents.deployment),
            server=ServerUrl(self._server.url),
            root=encode_root(self._repository.pinned),
            floor=Floor(root=1, targets=1, epoch=1, seq=0),
            issued=Time.of(self.now),
        )
        payload = dump_enrolment(enrolment)
        message = dsse.pae(dsse.ENROLMENT, payload)
        signers = (self._repository.signers[name] for name in ("root-1", "root-2"))
        made = {signer.public_key.keyid: bytes.fromhex(signer.sign(message).signature) for signer in signers}
        return envelope(dsse.ENROLMENT, payload, made)


def set_beside(wheel: Path) -> Path:
    """Where the attestation set of a wheel lies."""
    return wheel.with_name(wheel.name + SET_SUFFIX)
