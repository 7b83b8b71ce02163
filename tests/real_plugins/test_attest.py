"""Five real plugins, fetched by hash, built from source, attested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from attestor.checking.review import review
from tests.real_plugins.conftest import Attested
from tests.real_plugins.fetch import HERE, Plugin, plugins
from verifier.formats.manifest import parse_manifest
from verifier.formats.statement import PROVENANCE, SBOM, parse_provenance

pytestmark = pytest.mark.real_input

PLUGINS = plugins()


def test_there_are_five_of_five_systems_and_each_has_its_manifest_and_host() -> None:
    assert len(PLUGINS) == len({plugin.host for plugin in PLUGINS}) == len({plugin.entry[0] for plugin in PLUGINS}) == 5
    for plugin in PLUGINS:
        manifest = parse_manifest(plugin.manifest.read_bytes())
        assert plugin.entry[1] in manifest.entry_points[plugin.entry[0]]
        assert (manifest.plugin_id, manifest.version) == (plugin.name.replace("-", "_"), plugin.version)
        assert plugin.host_lock.is_file()


def test_none_of_their_code_is_kept_here() -> None:
    kept = {path.suffix for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert kept == {".toml", ".json", ".lock", ".py"}
    modules = {path.name for path in HERE.rglob("*.py")}
    assert modules <= {
        "bare.py",
        "conftest.py",
        "fetch.py",
        "hosts.py",
        "test_attest.py",
        "test_load.py",
        "test_locked.py",
        "test_unchanged.py",
        "test_wheels.py",
        "unchanged.py",
        "wheels.py",
    }


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_a_real_plugin_is_attested_from_its_source(plugin: Plugin, attest: Callable[[Plugin], Attested]) -> None:
    attested = attest(plugin)
    made = attested.made
    found = review(made.wheel, made.file_name, made.attestations, {"builder": [attested.people["builder"].public_key]})
    assert list(found.statements) == [PROVENANCE, SBOM]
    assert made.manifest.artifact_digest == f"sha256:{hashlib.sha256(made.wheel).hexdigest()}"
    assert made.manifest.source.sdist == f"sha256:{plugin.sha256}"
    assert made.manifest.dependencies == (), "everything that it needs is its host's"
    provenance = parse_provenance(found.statements[PROVENANCE].statement.predicate)
    assert provenance.buildDefinition.externalParameters.sdist == f"pkg:pypi/{plugin.name}@{plugin.version}"
    assert len(provenance.buildDefinition.resolvedDependencies) >= 3
    sbom = json.loads(found.statements[SBOM].statement.predicate)
    assert plugin.host in {part["name"] for part in sbom["components"]}


def test_the_wheel_holds_only_what_its_name_says(attest: Callable[[Plugin], Attested], tmp_path: Path) -> None:
    tops = {plugin.name: set[str]() for plugin in PLUGINS}
    for plugin in PLUGINS:
        made = attest(plugin).made
        found = review(
            made.wheel, made.file_name, made.attestations, {"builder": [attest(plugin).people["builder"].public_key]}
        )
        tops[plugin.name] = {top for top in found.snapshot.top_levels if not top.endswith(".dist-info")}
    assert tops == {
        "pytest-timeout": {"pytest_timeout"},
        "pep8-naming": {"pep8ext_naming"},
        "mkdocs-redirects": {"mkdocs_redirects"},
        "mdformat-tables": {"mdformat_tables"},
        "hatch-fancy-pypi-readme": {"hatch_fancy_pypi_readme"},
    }
