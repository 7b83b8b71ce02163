"""The exceptions for development and migration: loud, dated, and for what is absent alone."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import HostedDeployment, code_of
from tests.verifier.installations import UV, install, sync
from verifier.deployment.home import Home
from verifier.errors import PluginRevoked, Refused
from verifier.formats.strict_json import dumps
from verifier.formats.text import Time
from verifier.formats.unattested import FILE_NAME as REPORT
from verifier.gate import Gate
from verifier.installed.unattested import Exceptions, Unattested
from verifier.plugin import Plugin
from verifier.refreshing.refresh import enroll, refresh

ENTRY = {"sample_plugin-1.0.dist-info/entry_points.txt": "[exporters]\nhello = sample_plugin:hello\n"}
AN_END = "2099-01-01T00:00:00Z"
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "sample-plugin"
version = "1.0"
[project.entry-points.exporters]
hello = "sample_plugin:hello"
"""


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        deployment.policy("tiers.core.assurance", "installed")
        yield deployment
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample_plugin"]:
        del sys.modules[name]


@pytest.fixture
def site(hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with the plugin installed, which nobody has attested."""
    wheel = hosted.sim.wheel(files={path: text.encode() for path, text in ENTRY.items()})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return install(tmp_path / "site", hosted.put(wheel, None))


def profile(hosted: HostedDeployment, name: str, span: timedelta = timedelta(days=10)) -> None:
    """Let the policy be of a profile with an exception, for so long from now."""
    hosted.policy("profile", name)
    hosted.policy("exception_until", Time.of(hosted.now + span))
    hosted.refresh()


def report(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / REPORT).read_text().splitlines()]


# -- migration ---------------------------------------------------------------------------------------------------------


def test_an_unattested_plugin_is_loaded_reported_and_warned_of(
    hosted: HostedDeployment, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    profile(hosted, "migration")
    with caplog.at_level(logging.WARNING):
        found = hosted.gate().load_unattested("sample-plugin")
    assert isinstance(found, Unattested)
    assert found.entry_point("exporters", "hello")() == "hello"
    assert found.module("sample_plugin").__file__ == str(site / "sample_plugin" / "__init__.py")
    until = Time.of(hosted.now + timedelta(days=10))
    assert report(hosted.directory) == [
        {
            "at": Time.of(hosted.now), "name": "sample-plugin", "version": "1.0", "code": "set.missing",
            "profile": "migration", "until": until, "place": str(site),
        }
    ]  # fmt: skip
    assert "although nobody attested it" in caplog.text
    assert (hosted.directory / REPORT).stat().st_mode & 0o077 == 0
    with found.run() as run:
        socket.gethostbyname("localhost")
    assert (run.plugin_id, run.artifact_digest) == ("sample_plugin", "")
    [record] = run.observed.records
    assert (record.event.target, record.whose.plugin_id, record.whose.how) == ("localhost", "sample_plugin", "run")


def test_a_plugin_that_the_policy_does_not_know_is_reported_too(hosted: HostedDeployment, site: Path) -> None:
    hosted.policy("plugins.sample_plugin", None)
    profile(hosted, "migration")
    assert isinstance(hosted.gate().load_unattested("sample-plugin"), Unattested)


def test_what_is_attested_is_loaded_as_ever(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", hosted.plugin())
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    profile(hosted, "migration")
    sync(hosted, tmp_path / "site")
    assert isinstance(hosted.gate().load_unattested("sample-plugin"), Plugin)
    assert not (hosted.directory / REPORT).exists()


@pytest.mark.parametrize("name", ["production", "demo"])
def test_no_other_profile_has_an_exception(hosted: HostedDeployment, site: Path, name: str) -> None:
    hosted.policy("profile", name)
    hosted.refresh()
    assert code_of(lambda: hosted.gate().load_unattested("sample-plugin")) == "set.missing"
    assert not (hosted.directory / REPORT).exists()


def test_the_exception_has_an_end(hosted: HostedDeployment, site: Path) -> None:
    profile(hosted, "migration", timedelta(hours=2))
    gate = hosted.gate()
    found = gate.load_unattested("sample-plugin")
    hosted.pass_time(timedelta(hours=2))
    found.check()  # what runs goes on
    assert code_of(lambda: gate.load_unattested("sample-plugin")) == "set.missing"


def test_loading_by_the_ordinary_name_has_no_exception(hosted: HostedDeployment, site: Path) -> None:
    profile(hosted, "migration")
    assert code_of(lambda: hosted.gate().load_installed("sample-plugin")) == "set.missing"
    (wheel,) = hosted.wheels.glob("*.whl")
    assert code_of(lambda: hosted.gate().load(wheel)) == "set.missing"


def deny(hosted: HostedDeployment) -> None:
    hosted.policy("denied_plugins", ["sample_plugin"])


def rule(hosted: HostedDeployment) -> None:
    match = {"id": "sample_plugin", "range": "<2"}
    document = dumps({"v": 1, "rules": [{"id": "R1", "kind": "plugin", "match": match, "reason": "malicious"}]})
    hosted.sim.revoked.append("sha256:" + "0" * 64)  # a rule is an event, and an event has a number
    hosted.publish_head(rules={"sha256": hosted.sim.lists.keep("rules", document), "count": 1})


def back_to_production(hosted: HostedDeployment) -> None:
    hosted.policy("exception_until", None)
    hosted.policy("profile", "production")


AGAINST: dict[str, tuple[Callable[[HostedDeployment], None], str]] = {
    "denied": (deny, "decision.denied"),
    "a standing rule": (rule, "rule.matched"),
    "another profile": (back_to_production, "set.missing"),
}


@pytest.mark.parametrize("case", AGAINST)
def test_what_speaks_against_it_refuses_and_stops_what_runs(hosted: HostedDeployment, site: Path, case: str) -> None:
    profile(hosted, "migration")
    gate = hosted.gate()
    found = gate.load_unattested("sample-plugin")
    act, code = AGAINST[case]
    act(hosted)
    gate.refresh()
    assert found.revoked is not None
    assert code in found.revoked
    with pytest.raises(PluginRevoked):
        found.entry_point("exporters", "hello")
    assert code_of(lambda: gate.load_unattested("sample-plugin")) == code


def test_a_rule_stops_the_version_that_runs_also_where_another_was_installed_since(
    hosted: HostedDeployment, site: Path
) -> None:
    profile(hosted, "migration")
    gate = hosted.gate()
    found = gate.load_unattested("sample-plugin")
    (site / "sample_plugin-1.0.dist-info").rename(site / "sample_plugin-2.0.dist-info")
    rule(hosted)
    gate.refresh()
    assert "rule.matched" in str(found.revoked)


def test_news_that_arrive_while_it_is_loaded_are_heeded(
    hosted: HostedDeployment, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(hosted, "migration")
    gate = hosted.gate()
    before = Exceptions._report

    def report_and_hear(*args: Any) -> None:
        before(*args)
        rule(hosted)
        gate.refresh()  # as the watch does, in the middle of it

    monkeypatch.setattr(Exceptions, "_report", report_and_hear)
    assert code_of(lambda: gate.load_unattested("sample-plugin")) == "plugin.revoked"


def test_what_is_there_and_wrong_is_no_exception(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = hosted.plugin()
    site = install(tmp_path / "site", wheel)
    monkeypatch.syspath_prepend(str(site))
    profile(hosted, "migration")
    sync(hosted, site)
    (site / "sample_plugin" / "more.py").write_text("")
    assert code_of(lambda: hosted.gate().load_unattested("sample-plugin")) == "installed.extra"
    hosted.revoke(wheel)
    hosted.refresh()
    assert code_of(lambda: hosted.gate().load_unattested("sample-plugin")) == "revoked.artifact"
    for path in (hosted.directory / "sets").iterdir():  # to take away what attests it does not help
        path.unlink()
    assert code_of(lambda: hosted.gate().load_unattested("sample-plugin")) == "revoked.artifact"


def test_a_stale_list_is_no_exception(hosted: HostedDeployment, site: Path) -> None:
    profile(hosted, "migration", timedelta(days=20))
    hosted.pass_time(timedelta(days=5))
    assert code_of(lambda: hosted.gate().load_unattested("sample-plugin")) == "list.stale"


def test_what_cannot_be_reported_is_not_loaded(hosted: HostedDeployment, site: Path) -> None:
    profile(hosted, "migration")
    (hosted.directory / REPORT).symlink_to(hosted.directory / "elsewhere")
    assert code_of(lambda: hosted.gate().load_unattested("sample-plugin")) == "io.failed"


# -- development -------------------------------------------------------------------------------------------------------


@pytest.fixture
def editable(hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which the plugin's source itself is installed."""
    source = tmp_path / "source"
    (source / "sample_plugin").mkdir(parents=True)
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "sample_plugin" / "__init__.py").write_text("def hello(): return 'source'\n")
    command = [*UV, "--quiet", "--no-build-isolation", "--python", sys.executable, "--target", str(tmp_path / "site")]
    done = subprocess.run([*command, "-e", str(source)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(source))  # what the .pth file says when the interpreter starts
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def development_host(hosted: HostedDeployment, place: Path) -> Gate:
    home = enroll(hosted.server.url, hosted.root, place, development=True)
    refresh(home, hosted.now)
    gate = Gate(Home(place), clock=hosted.clock)
    hosted.gates.append(gate)
    return gate


def test_an_editable_installation_is_refused_with_words(hosted: HostedDeployment, editable: Path) -> None:
    hosted.refresh()
    with pytest.raises(Refused) as caught:
        hosted.gate().load_installed("sample-plugin")
    assert caught.value.code == "installed.editable"
    assert "development profile" in caught.value.todo
    profile(hosted, "migration")
    assert code_of(lambda: hosted.gate().load_unattested("sample-plugin")) == "installed.editable"


def test_a_host_for_development_loads_the_source(hosted: HostedDeployment, editable: Path, tmp_path: Path) -> None:
    profile(hosted, "development")
    found = development_host(hosted, tmp_path / "dev").load_unattested("sample-plugin")
    assert isinstance(found, Unattested)
    assert found.entry_point("exporters", "hello")() == "source"
    assert report(tmp_path / "dev")[0]["code"] == "installed.editable"


def test_a_host_that_is_not_for_development_does_not(hosted: HostedDeployment, editable: Path) -> None:
    profile(hosted, "development")
    with pytest.raises(Refused) as caught:
        hosted.gate().load_unattested("sample-plugin")
    assert caught.value.code == "installed.editable"
    assert "--development" in caught.value.__notes__[0]


def test_a_deployment_of_production_has_no_hosts_for_development(
    hosted: HostedDeployment, editable: Path, tmp_path: Path
) -> None:
    hosted.refresh()
    gate = development_host(hosted, tmp_path / "dev")
    assert code_of(lambda: gate.load_unattested("sample-plugin")) == "installed.editable"


# -- the policy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "until"),
    [
        ("migration", None),
        ("development", None),
        ("production", "2027-01-01T00:00:00Z"),
        ("demo", "2027-01-01T00:00:00Z"),
    ],
)
def test_an_exception_without_an_end_or_an_end_without_one_is_no_policy(
    hosted: HostedDeployment, name: str, until: str | None
) -> None:
    hosted.policy("profile", name)
    if until:
        hosted.policy("exception_until", until)
    assert code_of(hosted.refresh) == "trust.policy"
