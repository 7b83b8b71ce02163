"""A plugin that pip installed: published to a real server, synced by name and version, verified, loaded, revoked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crl_server.lists.wholeness import Wholeness
from crl_server.operating.serving import utc_now
from crl_server.storage.tables import Artifact
from tests.crl_server.test_cli import Recorder
from tests.flow.test_life_of_an_owner import World, world
from tests.verifier.installations import install
from verifier.deployment.home import Home
from verifier.errors import Refused
from verifier.formats.release import parse_release, release_key
from verifier.gate import Gate
from verifier.plugin import take_out
from verifier.refreshing.refresh import enroll

__all__ = ["world"]


@pytest.fixture
def host(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host of the deployment, whose core tier admits what is installed; its environment is ``site``."""
    policy = world.place / "acme" / "policy.toml"
    policy.write_text(policy.read_text().replace("[tiers.core]\n", '[tiers.core]\nassurance = "installed"\n'))
    world.run("trust", "policy")
    enroll(world.live.address, str(world.run("trust", "policy", "--show")["root"]), tmp_path / "host")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "host"


def command(host: Path, *words: object) -> tuple[int, Recorder]:
    from loadlock.cli import invoke

    told = Recorder()
    return invoke([*map(str, words), "--deployment", str(host)], told), told


def test_from_publishing_to_revoking(world: World, host: Path, tmp_path: Path) -> None:
    files = world.shelf.certified("1.0.0")
    install(tmp_path / "site", files.wheel, by="pip")
    none = command(host, "host", "sync", "--site", tmp_path / "site")[1].value["installed"]
    assert [(one["name"], one["outcome"]) for one in none] == [("csv-exporter", "none")]

    digest = world.admit(files)
    status, told = command(host, "host", "sync", "--site", tmp_path / "site")
    assert status == 0
    assert told.value["installed"] == [
        {"name": "csv-exporter", "version": "1.0.0", "outcome": "fetched", "wheels": 1, "reason": ""}
    ]
    status, told = command(host, "verify", "--installed", "csv-exporter", "--site", tmp_path / "site")
    facts = told.value["plugins"][0]["facts"]
    assert (status, facts["assurance"], facts["artifact_digest"]) == (0, "installed", digest)

    gate = Gate(Home(host))
    plugin = gate.load_installed("csv-exporter")
    try:
        assert plugin.module("csv_exporter").__name__ == "csv_exporter"
        status, told = command(host, "plugins", "plan", "--installed")
        assert [row["outcome"] for row in told.value["plugins"]] == ["clashes"]  # this very process has loaded it
        world.run("revoke", digest, "--reason", "malicious")
        gate.refresh()
        assert plugin.revoked is not None
    finally:
        take_out(plugin)
    assert command(host, "verify", "--installed", "csv-exporter")[0] == 1


def test_a_plan_of_what_is_installed(world: World, host: Path, tmp_path: Path) -> None:
    files = world.shelf.certified("1.0.0")
    world.admit(files)
    install(tmp_path / "site", files.wheel)
    assert command(host, "host", "sync")[0] == 0
    status, told = command(host, "plugins", "plan", "--installed")
    assert (status, [row["outcome"] for row in told.value["plugins"]]) == (0, ["loads"])
    (tmp_path / "site" / "csv_exporter").mkdir()
    (tmp_path / "site" / "csv_exporter" / "__init__.py").write_text("")
    status, told = command(host, "plugins", "plan", "--installed")
    assert (status, told.value["plugins"][0]["error"]["code"]) == (1, "installed.extra")


def test_the_server_lists_each_wheel_of_a_release_and_mends_what_is_gone(world: World) -> None:
    files = world.shelf.certified("1.0.0")
    digest = world.admit(files)
    layout = world.authority.layout
    place = layout.release_file(release_key("csv-exporter", "1.0.0"))
    (wheel,) = parse_release(place.read_bytes()).wheels
    assert (wheel.file, wheel.digest) == (files.wheel.name, digest)
    record = next((layout.public / "records").iterdir())
    assert record.name == wheel.record.hex
    content = record.read_bytes(), place.read_bytes()
    record.unlink()
    place.unlink()
    world.authority.reconcile(utc_now())
    assert (record.read_bytes(), place.read_bytes()) == content


def test_what_was_admitted_before_records_were_kept_is_added_by_publishing_again(world: World) -> None:
    files = world.shelf.certified("1.0.0")
    digest = world.admit(files)
    with world.authority.store.write() as ledger:
        row = ledger.session.get_one(Artifact, digest)
        row.record = None
    place = world.authority.layout.release_file(release_key("csv-exporter", "1.0.0"))
    place.unlink()
    world.authority.reconcile(utc_now())
    assert not place.exists()
    world.admit(files)
    assert place.exists()


def test_something_has_to_be_named(host: Path) -> None:
    from verifier.errors import UsageError

    with pytest.raises(UsageError) as caught:
        command(host, "verify")
    assert caught.value.code == "usage.arguments"


def test_a_server_that_lies_is_refused(
    world: World, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it hands out is compared with what was asked for; the command says so, and goes on."""
    monkeypatch.setattr(Wholeness, "check", lambda *_: None)
    files = world.shelf.certified("1.0.0")
    world.admit(files)
    install(tmp_path / "site", files.wheel)
    record = next((world.authority.layout.public / "records").iterdir())
    record.write_bytes(b"other")
    told = command(host, "host", "sync")[1].value["installed"]
    assert [(one["outcome"], json.dumps(one["reason"])[:18]) for one in told] == [("refused", '"[server.refused] ')]
    with pytest.raises(Refused) as caught:
        Gate(Home(host)).load_installed("csv-exporter")
    assert caught.value.code == "set.missing"
