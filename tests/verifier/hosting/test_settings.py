"""The one file of settings: what it may say, what is meant where it says nothing, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hosts import code_of
from tests.project.tree import ROOT
from verifier.hosting import Settings
from verifier.hosting.settings import MAX_SETTINGS, _Written

SPEC = ROOT / "docs" / "spec" / "host-settings.md"


def written(folder: Path, text: str, name: str = "loadlock.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_an_empty_file_means_the_safe_defaults(tmp_path: Path) -> None:
    assert Settings.read(written(tmp_path, "")) == Settings(deployment=tmp_path, plugins=(tmp_path / "plugins",))
    defaults = Settings(deployment=tmp_path, plugins=())
    assert (defaults.tier, defaults.watch, defaults.push, defaults.cache) == ("core", True, True, None)
    assert defaults.observe


def test_no_file_means_the_defaults_too(tmp_path: Path) -> None:
    assert Settings.find(tmp_path) == Settings(deployment=tmp_path, plugins=(tmp_path / "plugins",))


def test_the_example_of_the_specification(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", SPEC.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    settings = Settings.read(written(tmp_path, example))
    assert settings.plugins == (tmp_path / "plugins", Path("/opt/acme/plugins"))
    assert settings.own == {"acme-app"}
    assert settings.required == ("azure_embed",)
    assert Settings.find(tmp_path) == settings


def test_the_specification_names_every_setting() -> None:
    named = set(re.findall(r"^\| `([a-z]+)` \|", SPEC.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == set(_Written.__struct_fields__)


def test_a_projects_own_file_holds_them_in_a_table(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\n[tool.loadlock.host]\ndeployment = "d"\ntier = "vetted"\n'
    settings = Settings.find(written(tmp_path, text, "pyproject.toml"))
    assert (settings.deployment, settings.tier) == (tmp_path / "d", "vetted")


@pytest.mark.parametrize(
    "text",
    [
        "tier = 1",
        'tier = "everything"',
        'classification = "unknown"',
        'unknown = "field"',
        "interval = 0",
        "interval = 86401",
        'watch = "no"',
        'plugins = "plugins"',
        "plugins = ['']",
        'required = ["Not An Id"]',
        "tier = ",
        "tier = 'core'\ntier = 'core'",
        f"groups = {['x'] * 1001}",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    assert code_of(lambda: Settings.read(written(tmp_path, text))) == "usage.configuration"


@pytest.mark.parametrize("text", ["", "[tool]", "[tool.loadlock]", "tool = 1", "[tool]\nloadlock = 'x'"])
def test_a_projects_file_without_the_table_is_refused(tmp_path: Path, text: str) -> None:
    assert code_of(lambda: Settings.read(written(tmp_path, text, "pyproject.toml"))) == "usage.configuration"


def test_what_is_not_text_or_too_large_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "loadlock.toml"
    file.write_bytes(b"\xff")
    assert code_of(lambda: Settings.read(file)) == "usage.configuration"
    file.write_bytes(b"#" * (MAX_SETTINGS + 1))
    assert code_of(lambda: Settings.read(file)) == "format.too-large"


def test_without_any_place_the_deployment_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path))
    assert Settings.find().deployment == tmp_path
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "nothing"))
    assert code_of(Settings.find) == "usage.deployment"
