"""A host that is really enrolled: the simulated deployment, published on loopback, and a directory on disk.

    with HostedDeployment(tmp_path) as hosted:
        wheel = hosted.plugin({"sample_plugin/__init__.py": "def hello(): return 'hello'"})
        plugin = hosted.gate().load(wheel)
        hosted.revoke(wheel)
        hosted.refresh()

What a host loads stays in the process; leaving the block takes it out again.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from packaging.version import Version as PackagingVersion

from loadlock.testing.loopback import Loopback
from tests.live_deployment import signed_by
from tests.simulator import Claims, PluginWheel, Simulator
from tests.wheels import build_wheel
from verifier.deployment.artifacts import SET_SUFFIX
from verifier.deployment.home import Home
from verifier.errors import LoadlockError
from verifier.formats.enrolment import Enrolment, Floor, ServerUrl, dump_enrolment, encode_root
from verifier.formats.release import Release, ReleasedWheel, dump_release, release_key
from verifier.formats.text import Digest, Name, Time, Version
from verifier.gate import Gate
from verifier.plugin import take_out
from verifier.refreshing.refresh import Refresher, enroll
from verifier.runtime import observation, stamps

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "sample_plugin/__init__.py"
"""Where the code of ``sample-plugin`` lies in its wheel."""


class HostedDeployment:
    """One deployment, its server, and one enrolled host. ``now`` is the clock of all of them, moved by
    :meth:`pass_time`; python-tuf's client judges by the machine's clock as well, so this one starts there.

    Args:
        directory: an empty directory; the host's own lies in it as ``host``, wheels under ``wheels``.
    """

    def __init__(self, directory: Path) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.sim = Simulator(self.now)
        self.server = Loopback()
        self.directory = directory / "host"
        self.wheels = directory / "wheels"
        self.wheels.mkdir()
        self.gates: list[Gate] = []

    def __enter__(self) -> HostedDeployment:
        self.server.__enter__()
        self.publish()
        self.server.files["enrolment.json"] = self._enrolment()
        self.home = enroll(self.server.url, self.root, self.directory)
        self.refresh()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unload()
        self.server.stop()

    @property
    def root(self) -> str:
        """The root's fingerprint, as the operator tells it."""
        return f"sha256:{hashlib.sha256(self.sim.pinned).hexdigest()}"

    # -- the clock -----------------------------------------------------------------------------------------------------

    def clock(self) -> datetime:
        """What every gate of this host goes by."""
        return self.now

    def pass_time(self, span: timedelta) -> None:
        """Move the clock; nothing is signed again."""
        self.now += span

    # -- the deployment ------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Hand out everything that was signed so far."""
        self.server.files |= {f"trust/{path}": data for path, data in self.sim.repository.history.items()}
        self.server.files |= {f"lists/{kind}/{name}": data for (kind, name), data in self.sim.lists.files.items()}
        self.server.files["lists/head.json"] = self.sim.head

    def policy(self, path: str, value: Any) -> None:
        """Change one place of the policy, sign it and hand it out."""
        self.sim.policy(path, value, self.now)
        self.publish()

    def revoke(self, *wheels: Path) -> None:
        """Revoke wheels, sign the list and hand it out."""
        self.sim.revoke(*(f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}" for wheel in wheels), now=self.now)
        self.publish()

    def publish_head(self, **fields: Any) -> None:
        """Sign the list again and hand it out; ``fields`` are those of the head."""
        self.sim.publish_head(self.now, **fields)
        self.publish()

    # -- plugins -------------------------------------------------------------------------------------------------------

    def plugin(
        self,
        modules: Mapping[str, str | bytes] | None = None,
        *,
        name: str = "sample-plugin",
        version: str = "1.0",
        entry_points: Mapping[str, Mapping[str, str]] | None = None,
        folder: str = "",
        requires: Sequence[str] = (),
        locks: Sequence[Path] = (),
        **predicate: Any,
    ) -> Path:
        """A signed wheel on disk, its set beside it.

        Args:
            modules: path to source or content, instead of a package that says hello.
            name: the project, one of those that the policy knows.
            version: its version.
            entry_points: those of the signed manifest, instead of ``exporters:hello``.
            folder: where it lies below ``wheels``.
            requires: what its METADATA requires.
            locks: wheels that it locks, as :meth:`dependency` made them.
            predicate: further fields of the signed manifest.
        """
        files = {path: file if isinstance(file, bytes) else file.encode() for path, file in (modules or {}).items()}
        wheel = self.sim.wheel(name, version, requires=requires, files=files)
        claims = self.claims(wheel)
        if entry_points is not None:
            predicate["entry_points"] = entry_points
        claims["manifest"].predicate |= predicate
        self.sim.lock(claims, *map(_wheel_at, locks))
        return self.put(wheel, claims.sign(), folder)

    def dependency(
        self,
        name: str,
        modules: Mapping[str, str | bytes] | None = None,
        *,
        version: str = "1.0",
        requires: Sequence[str] = (),
        house: str = "wheels",
    ) -> Path:
        """A wheel in the host's wheelhouse, or in another one in its directory, which nobody has signed.

        Args:
            name: the project.
            modules: path to content, instead of a module of that name with its version.
            version: its version.
            requires: what its METADATA requires.
            house: the wheelhouse's name.
        """
        wheel = build_wheel(
            modules or {f"{name.replace('-', '_')}.py": f"VERSION = {version!r}\n"},
            name=name,
            version=version,
            metadata_lines=[f"Requires-Dist: {text}" for text in requires],
        )
        place = self.directory / house
        place.mkdir(exist_ok=True)
        (place / wheel.file_name).write_bytes(wheel.data)
        return place / wheel.file_name

    def claims(self, wheel: PluginWheel) -> Claims:
        """The honest statements about a wheel that asks nothing of the host's environment."""
        claims = self.sim.claims(wheel)
        claims["manifest"].predicate["host_provided"] = []
        claims.pin()
        return claims

    def put(self, wheel: PluginWheel, attestations: bytes | None, folder: str = "") -> Path:
        """Write a wheel to disk, with its set beside it if there is one."""
        place = self.wheels / folder
        place.mkdir(exist_ok=True)
        path = place / wheel.file_name
        path.write_bytes(wheel.data)
        if attestations is not None:
            set_of(path).write_bytes(attestations)
            self.server.files[f"sets/{wheel.digest.removeprefix('sha256:')}.jsonl"] = attestations
            self.release(wheel)
        return path

    def release(self, *wheels: PluginWheel) -> None:
        """Let the server list wheels as those of a release, in place of what it listed, and hand out their RECORDs."""
        named = [
            ReleasedWheel(
                file=wheel.file_name,
                digest=Digest(wheel.digest),
                record=Digest(f"sha256:{hashlib.sha256(wheel.record).hexdigest()}"),
            )
            for wheel in wheels
        ]
        name, version = wheels[0].name, wheels[0].version
        document = Release(v=1, name=name, version=Version(str(PackagingVersion(version))), wheels=tuple(named))
        self.server.files[f"releases/{release_key(name, document.version)}.json"] = dump_release(document)
        self.server.files |= {f"records/{hashlib.sha256(wheel.record).hexdigest()}": wheel.record for wheel in wheels}

    # -- the host ------------------------------------------------------------------------------------------------------

    def gate(self, **options: Any) -> Gate:
        """A gate of this host, which goes by this clock."""
        gate = Gate(Home(self.directory), **{"clock": self.clock, **options})
        self.gates.append(gate)
        return gate

    def unload(self) -> None:
        """Close all gates, and take what they loaded out of this process, as if it had not begun yet."""
        for gate in self.gates:
            gate.close()
            for plugin in gate.plugins:
                take_out(plugin)
        self.gates.clear()
        stamps.uninstall()
        observation.uninstall()

    def refresh(self) -> None:
        """Refresh the host's directory as another process does, which no gate of this one is told of."""
        Refresher(Home(self.directory)).refresh(self.now, trust=True)

    def _enrolment(self) -> bytes:
        enrolment = Enrolment(
            v=1,
            deployment=Name(self.sim.deployment),
            server=ServerUrl(self.server.url),
            root=encode_root(self.sim.pinned),
            floor=Floor(root=1, targets=1, epoch=1, seq=0),
            issued=Time.of(self.now),
        )
        signers = self.sim.repository.signers
        return signed_by(dump_enrolment(enrolment), (signers["root-1"], signers["root-2"]))


def _wheel_at(path: Path) -> PluginWheel:
    name, version = path.name.split("-")[:2]
    return PluginWheel(path.name, path.read_bytes(), name.replace("_", "-"), version, b"")


def set_of(wheel: Path) -> Path:
    """Where the set of a wheel lies beside it."""
    return wheel.with_name(wheel.name + SET_SUFFIX)


def in_fresh_process(script: str, *arguments: str | Path) -> str:
    """Run a script in an interpreter of its own, where warnings are errors, and return what it printed."""
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def code_of(action: Callable[[], object]) -> str:
    """The code that an action is refused with."""
    with pytest.raises(LoadlockError) as caught:
        action()
    return caught.value.code
