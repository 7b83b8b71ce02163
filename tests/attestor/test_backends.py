"""All six common build backends, attested from a commit: built twice, then rebuilt, and always the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attestor.building.rebuild import RebuildOptions, rebuild
from attestor.building.wheelhouse import Wheelhouse, prepare
from attestor.checking.review import review
from attestor.pipeline import Attestation, Options, attest_source
from tests.attestor.conftest import NOW, Signers, make_repository
from verifier.formats.statement import PROVENANCE, parse_provenance
from verifier.progress import SILENT

pytestmark = pytest.mark.real_input

LOCK = Path(__file__).with_name("backends.lock")

PROJECT = """
[project]
name = "tiny-plugin"
version = "1.0.0"
description = "As small as a plugin can be."
requires-python = ">=3.11"
readme = "README.md"

[project.entry-points.exporters]
tiny = "tiny_plugin:run"
"""

# Backend: what it requires, its name, and what it has to be told beside the project's own table.
BACKENDS = {
    "setuptools": ("setuptools.build_meta", '[tool.setuptools.packages.find]\nwhere = ["src"]\n'),
    "hatchling": ("hatchling.build", ""),
    "flit-core": ("flit_core.buildapi", ""),
    "poetry-core": ("poetry.core.masonry.api", ""),
    "pdm-backend": ("pdm.backend", ""),
    "uv-build": ("uv_build", ""),
}

MANIFEST = {
    "v": 1,
    "plugin_id": "tiny_plugin",
    "version": "1.0.0",
    "description": "As small as a plugin can be.",
    "owner": "owner",
    "kind": "exporter",
    "api_version": ">=1,<2",
    "maturity": "stable",
    "entry_points": {"exporters": {"tiny": "tiny_plugin:run"}},
}


def files(backend: str) -> dict[str, str]:
    name, more = BACKENDS[backend]
    system = f'[build-system]\nrequires = ["{backend}"]\nbuild-backend = "{name}"\n'
    return {
        "pyproject.toml": system + PROJECT + more,
        "README.md": "# Tiny\n\nA plugin with a letter beyond ASCII: é.\n",
        "src/tiny_plugin/__init__.py": "from tiny_plugin.words import WORD\n\n\ndef run():\n    return WORD\n",
        "src/tiny_plugin/words.py": 'WORD = "é"\n',
        "src/tiny_plugin/data/table.csv": "a,b\n1,2\n",
        "PLUGIN_MANIFEST.json": json.dumps(MANIFEST),
    }


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Wheelhouse:
    """The wheels of all six, fetched once by hash; nothing else is reached."""
    return Wheelhouse(prepare(LOCK), cache=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_gives_the_same_bytes_twice_and_once_more(
    backend: str, backends: Wheelhouse, signers: Signers, tmp_path: Path
) -> None:
    place = make_repository(tmp_path / "tiny-plugin", files(backend))
    made = attest_source(place, Options(house=backends), signers.builder, now=NOW)
    found = review(made.wheel, made.file_name, made.attestations, {"builder": [signers.builder.public_key]})
    assert {"tiny_plugin/__init__.py", "tiny_plugin/words.py"} <= set(found.snapshot.files)
    assert recorded(made, signers)["reproducibility"] == "checked: bit-identical, 7 varied conditions"
    done = rebuild(
        made.wheel, made.file_name, made.attestations, [signers.builder.public_key],
        RebuildOptions(source=place, house=backends), signers.stranger, now=NOW, progress=SILENT,
    )  # fmt: skip
    assert done.refusal() is None
    assert done.build.wheel == made.wheel
    assert done.build.inputs
    assert backend in {wheel.name for wheel in done.build.inputs}


def recorded(made: Attestation, signers: Signers) -> dict[str, object]:
    """The internal parameters of the provenance."""
    found = review(made.wheel, made.file_name, made.attestations, {"builder": [signers.builder.public_key]})
    return parse_provenance(found.statements[PROVENANCE].statement.predicate).buildDefinition.internalParameters
