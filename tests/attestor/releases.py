"""Releases of one plugin, attested from ready-made wheels: quick to make, with everything but provenance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attestor.commands.places import WheelFiles
from attestor.pipeline import Options, attest_wheel
from attestor.signing.certify import Terms, certify
from attestor.signing.endorse import endorse
from tests.attestor.conftest import EXAMPLE, Signers
from tests.wheels import build_wheel
from verifier.formats.policy import TierName

NOW = datetime.now(UTC).replace(microsecond=0)
"""The commands read the machine's clock."""


@dataclass(frozen=True)
class Shelf:
    """A folder of releases, and who signs them."""

    place: Path
    signers: Signers

    def endorsed(self, version: str, name: str = "csv-exporter", **declared: Any) -> WheelFiles:
        """A release that its owner has signed; ``declared`` changes the manifest."""
        wheel = build_wheel({f"{name.replace('-', '_')}.py": ""}, name=name, version=version)
        files = WheelFiles(self.place / wheel.file_name)
        files.wheel.parent.mkdir(exist_ok=True)
        files.wheel.write_bytes(wheel.data)
        manifest = json.loads((EXAMPLE / "PLUGIN_MANIFEST.json").read_text())
        manifest |= {"version": version, "plugin_id": name.replace("-", "_")}
        manifest["entry_points"] = {"exporters": {"csv": f"{name.replace('-', '_')}:export"}}
        (self.place / "manifest.json").write_text(json.dumps(manifest | declared))
        signers, options = self.signers, Options(manifest=self.place / "manifest.json")
        made = attest_wheel(files.wheel, options, signers.builder, now=NOW)
        builders = [signers.builder.public_key]
        done = endorse(
            made.wheel, made.file_name, made.attestations, made.unsigned, signers.owner, builders, now=NOW
        ).attestations
        files.attestations.write_bytes(done)
        return files

    def certified(
        self, version: str, tier: TierName = "core", conditions: tuple[str, ...] = (), **declared: Any
    ) -> WheelFiles:
        """A release that was certified too."""
        files, signers = self.endorsed(version, **declared), self.signers
        done = certify(
            files.read_wheel(), files.wheel.name, files.read_attestations(), signers.certifier,
            {"builder": [signers.builder.public_key], "owner": [signers.owner.public_key]},
            Terms(tier, NOW + timedelta(days=30), conditions), now=NOW,
        )  # fmt: skip
        files.attestations.write_bytes(done.attestations)
        return files
