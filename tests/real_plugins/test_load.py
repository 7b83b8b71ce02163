"""Each real plugin, loaded through the gate in its real host, which takes it in without its ever being installed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import HostedDeployment
from tests.real_plugins.conftest import Attested
from tests.real_plugins.fetch import HERE, Plugin, host_environment, plugins

pytestmark = pytest.mark.real_input

EXPECTED = {
    "pytest-timeout": (1, "Timeout (>0.1s) from pytest-timeout.", "pytest_timeout"),
    "pep8-naming": (1, "N801 class name 'badlyNamed' should use CapWords convention", "NamingChecker"),
    "mkdocs-redirects": (0, "redirects", "RedirectPlugin"),
    "mdformat-tables": (0, "| a   | long |\n| --- | ---- |\n| 1   | 2    |\n", "mdformat_tables"),
    "hatch-fancy-pypi-readme": (0, "first second", "hatch_fancy_pypi_readme.hooks"),
}


def use(plugin: Plugin, wheel: Path, home: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """Load and use a plugin in a child process of its host's environment."""
    python = host_environment(plugin, place / "host")
    argv = [python, "-I", HERE / "hosts.py", home, wheel, plugin.host, *plugin.entry, place / "scratch"]
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=60, cwd=place)


@pytest.mark.parametrize("plugin", plugins(), ids=lambda plugin: plugin.name)
def test_a_real_host_uses_a_real_plugin_that_the_gate_let_in(
    plugin: Plugin, attest: Callable[[Plugin], Attested], hosted: HostedDeployment, tmp_path: Path
) -> None:
    attested = attest(plugin)
    done = use(plugin, attested.write(tmp_path), hosted.directory, tmp_path)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["status"], told["said"], told["entry"]) == EXPECTED[plugin.name]
    assert told["digest"] == attested.made.manifest.artifact_digest
    assert told["tier"] == "core"
    assert told["loader"] == "verifier.importing.loader"
    assert told["installed"] is False


def test_a_real_host_gets_nothing_of_a_wheel_that_was_touched(
    attest: Callable[[Plugin], Attested], hosted: HostedDeployment, tmp_path: Path
) -> None:
    plugin = next(plugin for plugin in plugins() if plugin.host == "mdformat")
    wheel = attest(plugin).write(tmp_path)
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    done = use(plugin, wheel, hosted.directory, tmp_path)
    assert done.returncode != 0
    assert "subject.digest" in done.stderr
    assert not (tmp_path / "scratch").exists()
