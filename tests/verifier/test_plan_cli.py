"""``plugins plan`` and ``doctor`` by the host's own settings; what exceptions would let through, and what they have."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import PACKAGE, HostedDeployment, code_of, set_of
from tests.verifier.installations import install, sync
from tests.verifier.test_plugins_cli import Told, run
from verifier.errors import FormatError
from verifier.formats.text import Time
from verifier.formats.unattested import FILE_NAME, MAX_REPORT, LoadedUnattested, dump_line, parse_report
from verifier.hosting import Plugins
from verifier.installed.excepted import read_excepted

LINE = (
    b'{"at":"2026-01-31T12:00:00Z","name":"sample-plugin","version":"1.0","code":"set.missing",'
    b'"profile":"migration","until":"2026-03-01T00:00:00Z","place":"/srv/site"}\n'
)


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        deployment.policy("tiers.core.assurance", "installed")
        deployment.refresh()
        yield deployment
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample_plugin"]:
        del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def settings(hosted: HostedDeployment, text: str = "") -> None:
    (hosted.directory / "loadlock.toml").write_text(f'plugins = ["{hosted.wheels}"]\nwatch = false\n{text}')


def planned(told: Told) -> dict[str, str]:
    return {row["file"]: row["outcome"] for row in told.value["plugins"]}


def migrate(hosted: HostedDeployment, profile: str = "migration", span: timedelta = timedelta(days=10)) -> Time:
    until = Time.of(hosted.now + span)
    hosted.policy("profile", profile)
    hosted.policy("exception_until", until)
    hosted.refresh()
    return until


# -- plan by settings --------------------------------------------------------------------------------------------------


def test_what_the_settings_say_is_planned_and_is_what_the_host_does(hosted: HostedDeployment) -> None:
    settings(hosted, 'required = ["sample_plugin"]\n')
    old, new, bad = hosted.plugin(version="1.0"), hosted.plugin(version="1.1"), hosted.plugin(name="other-plugin")
    set_of(bad).unlink()
    status, told = run(hosted, "plugins", "plan")
    assert status == 1
    assert planned(told) == {old.name: "superseded", new.name: "loads", bad.name: "refused"}
    assert told.value["required_missing"] == []
    plugins = Plugins.open(hosted.directory)
    hosted.gates.append(plugins.gate)
    assert [plugin.facts.version for plugin in plugins.loaded] == ["1.1"]
    assert [refused.path.name for refused in plugins.refused] == [bad.name]


@pytest.mark.parametrize("texts", [("one", "two"), ("three", "four"), ("five", "six")])
def test_of_two_builds_of_a_release_the_later_is_planned_as_it_is_loaded(
    hosted: HostedDeployment, texts: tuple[str, str]
) -> None:
    settings(hosted)
    for build, text in enumerate(texts, start=1):
        said = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\nBuild: {build}\n"
        code = f"def hello():\n    return {text!r}\n"
        files = {PACKAGE: code.encode(), "sample_plugin-1.0.dist-info/WHEEL": said.encode()}
        wheel = hosted.sim.wheel(files=files, file_name=f"sample_plugin-1.0-{build}-py3-none-any.whl")
        place = hosted.put(wheel, hosted.claims(wheel).sign())
    _, told = run(hosted, "plugins", "plan")
    assert planned(told)[place.name] == "loads"
    plugins = Plugins.open(hosted.directory)
    hosted.gates.append(plugins.gate)
    (plugin,) = plugins.loaded
    assert plugin.facts.snapshot.file_name == place.name
    assert plugin.entry_point("exporters", "hello")() == texts[1]


def test_what_the_settings_want_of_plugins_is_wanted(hosted: HostedDeployment) -> None:
    hosted.plugin()
    settings(hosted, "hermetic = true\n")
    status, told = run(hosted, "plugins", "plan")
    assert (status, told.value["plugins"][0]["error"]["code"]) == (1, "decision.hermetic")


def test_a_required_plugin_that_does_not_load_is_said(hosted: HostedDeployment) -> None:
    settings(hosted, 'required = ["other_plugin"]\n')
    hosted.plugin()
    status, told = run(hosted, "plugins", "plan")
    assert (status, told.value["ok"], told.value["required_missing"]) == (1, False, ["other_plugin"])
    assert any("the host does not start" in line for line in told.lines)


def test_other_settings_than_the_deployments(hosted: HostedDeployment, tmp_path: Path) -> None:
    hosted.plugin()
    file = tmp_path / "pyproject.toml"
    file.write_text(f'[tool.loadlock.host]\ndeployment = "{hosted.directory}"\nplugins = ["{hosted.wheels}"]\n')
    status, told = run(hosted, "plugins", "plan", "--settings", file)
    assert (status, len(told.value["plugins"])) == (0, 1)
    status, told = run(hosted, "plugins", "doctor", "--settings", file)
    assert (status, told.lines[-1][:10]) == (0, "1 plugins,")


@pytest.mark.parametrize("words", [("--tier", "core"), ("--hermetic",), ("--wheelhouse", "wheels")])
def test_the_settings_and_the_options_do_not_both_say_it(hosted: HostedDeployment, words: tuple[str, ...]) -> None:
    settings(hosted)
    assert code_of(lambda: run(hosted, "plugins", "plan", *words)) == "usage.arguments"


def test_a_directory_and_settings_are_not_both_named(hosted: HostedDeployment) -> None:
    words = ("plugins", "plan", hosted.wheels, "--settings", "loadlock.toml")
    assert code_of(lambda: run(hosted, *words)) == "usage.arguments"


def test_a_wheel_comes_before_what_is_installed(hosted: HostedDeployment, site: Path) -> None:
    wheel = hosted.plugin()
    install(site, wheel)
    sync(hosted, site)
    settings(hosted, 'installed = ["sample-plugin"]\n')
    _, told = run(hosted, "plugins", "plan")
    assert planned(told) == {wheel.name: "clashes", "sample_plugin-1.0.dist-info": "loads"}


# -- what an exception would let through -------------------------------------------------------------------------------


@pytest.fixture
def unattested(hosted: HostedDeployment, site: Path) -> Path:
    """The plugin is installed, and nobody has attested it."""
    settings(hosted, 'installed = ["sample-plugin"]\n')
    wheel = hosted.plugin(folder="elsewhere")
    set_of(wheel).unlink()
    return install(site, wheel)


def test_what_the_migration_would_let_through_is_said_with_its_end(hosted: HostedDeployment, unattested: Path) -> None:
    status, told = run(hosted, "plugins", "plan")
    assert (status, [*planned(told).values()]) == (1, ["refused"])
    assert told.value["plugins"][0]["exception"] is None
    until = migrate(hosted)
    status, told = run(hosted, "plugins", "plan")
    [row] = told.value["plugins"]
    assert (status, row["outcome"], row["exception"]) == (1, "excepted", {"profile": "migration", "until": until})
    assert row["error"]["code"] == "set.missing"
    assert str(until) in told.lines[0]
    assert not (hosted.directory / FILE_NAME).exists()
    assert run(hosted, "plugins", "plan", "--installed")[1].value["plugins"] == told.value["plugins"]


def test_development_is_an_exception_only_on_a_host_for_it(hosted: HostedDeployment, unattested: Path) -> None:
    migrate(hosted, "development")
    assert [*planned(run(hosted, "plugins", "plan")[1]).values()] == ["refused"]


def test_what_is_denied_is_not_excepted(hosted: HostedDeployment, unattested: Path) -> None:
    migrate(hosted)
    hosted.policy("denied_plugins", ["sample_plugin"])
    hosted.refresh()
    assert [*planned(run(hosted, "plugins", "plan")[1]).values()] == ["refused"]


def test_what_is_not_installed_is_refused(hosted: HostedDeployment) -> None:
    settings(hosted, 'installed = ["nowhere-installed"]\n')
    _, told = run(hosted, "plugins", "plan")
    assert told.value["plugins"][0]["error"]["code"] == "installed.unknown"


# -- what exceptions have let through ----------------------------------------------------------------------------------


def test_what_was_loaded_unattested_is_shown_with_its_last_time_and_the_end(
    hosted: HostedDeployment, unattested: Path
) -> None:
    until = migrate(hosted)
    hosted.gate().load_unattested("sample-plugin")
    hosted.pass_time(timedelta(seconds=30))
    hosted.gate().load_unattested("sample-plugin")
    _, told = run(hosted, "plugins", "ls", hosted.wheels)
    [row] = told.value["unattested"]
    assert (row["name"], row["version"], row["times"]) == ("sample-plugin", "1.0", 2)
    assert (row["last"], row["code"], row["exception_until"]) == (Time.of(hosted.now), "set.missing", until)
    symptoms = {symptom["name"]: symptom for symptom in run(hosted, "plugins", "doctor")[1].value["symptoms"]}
    assert f"2 times, last at {row['last']}" in symptoms["unattested"]["what"]
    assert f"the exception lasts until {until}" in symptoms["unattested"]["what"]
    assert symptoms["exception-ends"]["level"] == "warning"
    hosted.policy("exception_until", None)
    hosted.policy("profile", "production")
    hosted.refresh()
    _, told = run(hosted, "plugins", "ls", hosted.wheels)
    assert told.value["unattested"][0]["exception_until"] is None
    assert any("that exception is over" in line for line in told.lines)


def test_a_host_without_a_report(hosted: HostedDeployment) -> None:
    assert run(hosted, "plugins", "ls", hosted.wheels)[1].value["unattested"] == []
    policy = hosted.gate().ground.trust.policy
    assert read_excepted(hosted.home, policy, hosted.now) == []


def test_lines_are_written_as_they_are_read() -> None:
    [line] = parse_report(LINE)
    assert dump_line(line) == LINE
    assert parse_report(b"") == []
    assert isinstance(line, LoadedUnattested)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (LINE[:-1], "format.syntax"),
        (LINE + LINE[:20], "format.syntax"),
        (LINE + b"\n", "format.syntax"),
        (LINE.replace(b'"name"', b'"more":1,"name"'), "format.schema"),
        (LINE.replace(b"sample-plugin", b"Sample Plugin"), "format.schema"),
        (LINE.replace(b"migration", b"production"), "format.schema"),
        (LINE.replace(b"/srv/site", b"\\u001b[31m"), "format.schema"),
        (LINE.replace(b"/srv", b"/" + b"x" * 20_000), "format.too-large"),
        (LINE.replace(b'"code"', b'"at":"2026-01-31T12:00:00Z","code"'), "format.duplicate-key"),
        (LINE.replace(b"sample", b"s\xffmple"), "format.encoding"),
        (bytes(MAX_REPORT + (1 << 20)), "format.too-large"),
    ],
)
def test_anything_else_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_report(data)
    assert caught.value.code == code


def test_a_damaged_report_is_an_error_and_not_half_a_report(hosted: HostedDeployment) -> None:
    (hosted.directory / FILE_NAME).write_bytes(LINE + b"{}\n")
    status, told = run(hosted, "plugins", "doctor", hosted.wheels)
    found: dict[str, Any] = {symptom["name"]: symptom for symptom in told.value["symptoms"]}
    assert (status, found["format.schema"]["subject"]) == (1, FILE_NAME)
    assert "line 2 of unattested.jsonl" in found["format.schema"]["what"]
    assert code_of(lambda: run(hosted, "plugins", "ls", hosted.wheels)) == "format.schema"


def test_a_place_that_is_no_line_of_text_is_still_reported(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "si\nte\udcff"
    wheel = hosted.plugin()
    set_of(wheel).unlink()
    install(tmp_path / "plain", wheel)
    (tmp_path / "plain").rename(place)
    monkeypatch.syspath_prepend(str(place))
    migrate(hosted)
    hosted.gate().load_unattested("sample-plugin")
    [line] = parse_report((hosted.directory / FILE_NAME).read_bytes())
    assert line.place.endswith("/si?te?")
    assert json.loads(json.dumps(line.place)) == line.place
