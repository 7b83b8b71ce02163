"""Real hosts, not changed in any way, find their real plugins behind the gate alone: by pluggy and by entry points.

Each is run with its plugin, with a revoked one, and with one that was tampered with. Of those two it has to
make what it would make if the plugin were not there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from attestor.signing.signers import KeySigner
from tests.hosts import HostedDeployment
from tests.real_plugins.conftest import Attested, deployment_of
from tests.real_plugins.fetch import HERE, host_environment, plugins

pytestmark = pytest.mark.real_input

HANGS = "import threading\n\ndef test_it():\n    threading.Event().wait(1)\n"


class Host(NamedTuple):
    """A host: its settings, files and command, and what it ends with and says with its plugin, and without."""

    settings: str
    files: dict[str, str]
    argv: tuple[str, ...]
    with_plugin: tuple[int, str]
    without: tuple[int, str]


HOSTS = {
    "pytest": Host(
        'groups = ["pytest11"]',
        {"test_hangs.py": HANGS, "pytest.ini": "[pytest]\ntimeout = 0.1\n"},
        ("pytest", "-p", "no:cacheprovider", "."),
        (1, "Failed: Timeout (>0.1s) from pytest-timeout"),
        (0, "Unknown config option: timeout"),
    ),
    "mkdocs": Host(
        'groups = ["mkdocs.plugins"]\nown = ["mkdocs"]',
        {
            "mkdocs.yml": "site_name: S\nplugins: [search, {redirects: {redirect_maps: {old.md: index.md}}}]\n",
            "docs/index.md": "# Home\n",
        },
        ("mkdocs", "build"),
        (0, "Documentation built"),
        (1, 'The "redirects" plugin is not installed'),
    ),
    "flake8": Host(
        'groups = ["flake8.extension", "flake8.report"]\nown = ["flake8", "pyflakes", "pycodestyle", "mccabe"]',
        {"names.py": "class badlyNamed:\n    pass\n\nimport os\n"},
        ("flake8", "names.py"),
        (1, "N801 class name 'badlyNamed' should use CapWords convention"),
        (1, "F401 'os' imported but unused"),
    ),
    "mdformat": Host(
        'groups = ["mdformat.parser_extension"]',
        {"table.md": "|a|long|\n|-|-|\n|1|2|\n"},
        ("mdformat", "--check", "table.md"),
        (1, "is not formatted"),
        (0, ""),
    ),
}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    """The hosts, one after the other."""
    return str(request.param)


@pytest.fixture
def deployment(people: dict[str, KeySigner], tmp_path: Path) -> Iterator[HostedDeployment]:
    place = tmp_path / "deployment"
    place.mkdir()
    with deployment_of(people, place) as deployment:
        yield deployment


@pytest.fixture
def wheel(host: str, attest: Callable[..., Attested], deployment: HostedDeployment) -> Path:
    """The host's plugin, attested, among the deployment's wheels."""
    return attest(next(plugin for plugin in plugins() if plugin.host == host)).write(deployment.wheels)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The interpreter of a host's own environment, where its plugin is not installed; each is made once."""

    @cache
    def made(name: str) -> Path:
        plugin = next(plugin for plugin in plugins() if plugin.host == name)
        return host_environment(plugin, tmp_path_factory.mktemp(name) / "environment")

    return made


def run(name: str, python: Path, deployment: HostedDeployment, place: Path) -> subprocess.CompletedProcess[str]:
    """Run a host on its files."""
    host = HOSTS[name]
    work = place / "work"
    for path, text in host.files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    settings = place / "loadlock.toml"
    settings.write_text(f'deployment = "{deployment.directory}"\nplugins = ["{deployment.wheels}"]\n{host.settings}\n')
    argv = [python, "-I", HERE / "unchanged.py", settings, *host.argv]
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=60, cwd=work)


def test_it_uses_its_plugin(
    host: str, wheel: Path, deployment: HostedDeployment, environment: Callable[[str], Path], tmp_path: Path
) -> None:
    done = run(host, environment(host), deployment, tmp_path)
    status, said = HOSTS[host].with_plugin
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr
    assert "was not let in" not in done.stderr


@pytest.mark.parametrize("how", ["revoked", "tampered"])
def test_what_is_refused_is_as_if_it_were_not_there(
    host: str,
    how: str,
    wheel: Path,
    deployment: HostedDeployment,
    environment: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    if how == "revoked":
        deployment.revoke(wheel)
        deployment.refresh()
    else:
        data = bytearray(wheel.read_bytes())
        data[len(data) // 2] ^= 1
        wheel.write_bytes(data)
    done = run(host, environment(host), deployment, tmp_path)
    status, said = HOSTS[host].without
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr
    assert HOSTS[host].with_plugin[1] not in done.stdout
    assert {"revoked": "[revoked.artifact]", "tampered": "[subject.digest]"}[how] in done.stderr
