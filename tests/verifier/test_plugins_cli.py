"""What is here, what would load and why not the rest, and what will go wrong soon."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from loadlock.cli import invoke
from tests.hosts import HostedDeployment, set_of
from tests.registry import Registry, registry_with_token
from verifier.commands.doctor import Checkup, examine
from verifier.errors import LoadlockError
from verifier.formats.text import Time
from verifier.judging.ground import Ground


class Told:
    """An output that keeps what it was told."""

    json = False
    value: dict[str, Any]

    def __init__(self) -> None:
        from verifier.progress import SILENT

        self.progress = SILENT
        self.lines: list[str] = []

    def say(self, text: str = "") -> None:
        self.lines.append(text)

    def result(self, value: dict[str, Any]) -> None:
        self.value = json.loads(json.dumps(value))


def run(hosted: HostedDeployment, *words: object) -> tuple[int, Told]:
    told = Told()
    status = invoke(["--deployment", str(hosted.directory), *map(str, words)], told)
    return status, told


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def symptoms(hosted: HostedDeployment, *words: object) -> dict[str, str]:
    """Name to level of what the doctor says; its exit status fits."""
    status, told = run(hosted, "plugins", "doctor", hosted.wheels, *words)
    found = {symptom["name"]: symptom["level"] for symptom in told.value["symptoms"]}
    assert status == (1 if "error" in found.values() else 0)
    assert told.value["ok"] is (status == 0)
    return found


# -- ls and info -------------------------------------------------------------------------------------------------------


def test_what_does_not_verify_is_listed_with_its_code(hosted: HostedDeployment) -> None:
    good, bad = hosted.plugin(), hosted.plugin(name="other-plugin")
    set_of(bad).unlink()
    status, told = run(hosted, "plugins", "ls", hosted.wheels)
    assert status == 1
    rows = {row["file"]: row for row in told.value["plugins"]}
    assert rows[bad.name]["error"]["code"] == "set.missing"
    assert (rows[good.name]["plugin_id"], rows[good.name]["tier"]) == ("sample_plugin", "core")
    assert any("refused: set.missing" in line for line in told.lines)


def test_of_what_does_not_verify_nothing_is_shown(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    hosted.revoke(wheel)
    hosted.refresh()
    with pytest.raises(LoadlockError) as caught:
        run(hosted, "plugins", "info", wheel)
    assert caught.value.code == "revoked.artifact"


def test_info_shows_the_covenant_and_who_signed(hosted: HostedDeployment) -> None:
    _, told = run(hosted, "plugins", "info", hosted.plugin())
    assert any("may talk to" in line and "archive.host.example" in line for line in told.lines)
    assert "owner" in told.value["signers"].values()
    assert told.value["certified_until"] == Time.of(hosted.now + timedelta(days=100))
    assert told.value["manifest"]["plugin_id"] == "sample_plugin"


def test_what_is_no_directory_is_refused(hosted: HostedDeployment) -> None:
    with pytest.raises(LoadlockError) as caught:
        run(hosted, "plugins", "plan", hosted.wheels / "absent")
    assert caught.value.code == "usage.arguments"


# -- plan --------------------------------------------------------------------------------------------------------------


def test_the_newest_that_verifies_loads_and_the_others_say_why_not(hosted: HostedDeployment) -> None:
    old, new = hosted.plugin(version="1.0"), hosted.plugin(version="1.10")
    bad, other = hosted.plugin(version="2.0"), hosted.plugin(name="other-plugin")
    set_of(bad).write_bytes(set_of(new).read_bytes())
    status, told = run(hosted, "plugins", "plan", hosted.wheels)
    rows = {row["file"]: row for row in told.value["plugins"]}
    assert status == 1
    assert {name: row["outcome"] for name, row in rows.items()} == {
        old.name: "superseded", new.name: "loads", bad.name: "refused", other.name: "loads",
    }  # fmt: skip
    assert rows[bad.name]["error"]["code"] == "subject.digest"
    assert rows[old.name]["reason"] == "by 1.10"
    assert told.value["shared_entry_points"] == {"exporters:hello": ["other_plugin", "sample_plugin"]}
    assert not {"sample_plugin", "other_plugin"} & set(sys.modules)


def test_two_that_cannot_live_in_one_process_clash(hosted: HostedDeployment) -> None:
    hosted.plugin({"shared_name.py": ""})
    hosted.plugin({"shared_name.py": ""}, name="other-plugin")
    status, told = run(hosted, "plugins", "plan", hosted.wheels)
    assert status == 1
    assert sorted(row["outcome"] for row in told.value["plugins"]) == ["clashes", "loads"]
    clash = next(row for row in told.value["plugins"] if row["outcome"] == "clashes")
    assert clash["error"]["code"] == "wheel.shadowing"
    # Nothing stays in the process: what loads loads afterwards as well.
    assert run(hosted, "plugins", "plan", hosted.wheels)[1].value == told.value


def test_what_the_host_wants_decides(hosted: HostedDeployment) -> None:
    hosted.plugin()
    assert run(hosted, "plugins", "plan", hosted.wheels)[0] == 0
    status, told = run(hosted, "plugins", "plan", hosted.wheels, "--hermetic")
    assert (status, told.value["plugins"][0]["error"]["code"]) == (1, "decision.hermetic")


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_nothing_is_wrong(hosted: HostedDeployment) -> None:
    hosted.plugin()
    hosted.policy("valid_until", Time.of(hosted.now + timedelta(days=25)))
    hosted.refresh()
    assert symptoms(hosted, "--within", "20") == {}


def test_what_ends_soon_is_said_in_time(hosted: HostedDeployment) -> None:
    hosted.plugin(expires_at=Time.of(hosted.now + timedelta(days=50)))
    assert {"manifest-expires", "certification-expires"} & symptoms(hosted, "--within", "10").keys() == set()
    hosted.policy("valid_until", Time.of(hosted.now + timedelta(days=9)))
    hosted.refresh()
    found = symptoms(hosted, "--within", "110")
    assert {"policy-expires", "head-key-expires", "manifest-expires", "certification-expires"} <= found.keys()
    assert set(found.values()) == {"warning"}


def test_a_policy_that_was_just_signed_is_no_reason_to_warn(hosted: HostedDeployment) -> None:
    hosted.policy("valid_until", Time.of(hosted.now + timedelta(days=30)))
    hosted.refresh()
    assert "policy-expires" not in symptoms(hosted)  # it cannot be valid for longer than the 30 days of --within
    hosted.policy("valid_until", Time.of(hosted.now + timedelta(days=9)))
    hosted.refresh()
    assert symptoms(hosted)["policy-expires"] == "warning"
    assert "policy-expires" not in symptoms(hosted, "--within", "5")


def test_a_list_near_its_end_is_said(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    head = gate.ground.revocations.head
    third = (head.expires.instant - head.issued.instant) / 3

    def seen(moment: datetime, ground: Ground = gate.ground) -> set[tuple[str, str]]:
        checkup = Checkup(moment, timedelta(0))
        return {(symptom.level, symptom.name) for symptom in examine(ground, gate.home, [], [], checkup)}

    assert seen(head.expires.instant - third) == set()
    assert seen(head.expires.instant - third + timedelta(seconds=1)) == {("warning", "list-expires")}
    assert seen(head.expires.instant) == {("warning", "list-expired")}
    grace = gate.ground.grace_of(*gate.ground.trust.policy.tiers)
    assert seen(head.expires.instant + grace - timedelta(seconds=1)) == {("warning", "list-expired")}
    assert ("error", "list-expired") in seen(head.expires.instant + grace)
    assert seen(head.expires.instant, replace(gate.ground, stateless=True)) == {("error", "list-expired")}


def test_what_is_refused_is_an_error(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    hosted.revoke(wheel)
    hosted.refresh()
    assert symptoms(hosted)["revoked.artifact"] == "error"


def test_the_next_host_api_is_tried(hosted: HostedDeployment) -> None:
    hosted.plugin()
    assert "api-version" not in symptoms(hosted, "--host-api", "1.9")
    assert "api-version" in symptoms(hosted, "--host-api", "2.0")


def test_what_only_an_adapter_lets_the_host_call_is_said(hosted: HostedDeployment) -> None:
    hosted.plugin()
    hosted.policy("host_api", "2.0")
    hosted.refresh()
    assert symptoms(hosted)["manifest.api-version"] == "error"
    assert symptoms(hosted, "--adapts", "1.1")["api-adapted"] == "warning"


def test_what_grew_since_the_release_before_is_said(hosted: HostedDeployment) -> None:
    egress = [{"host": host, "schemes": ["https"], "ports": [443]} for host in ("archive.host.example", "new.example")]
    hosted.plugin(version="1.0")
    assert "grew" not in symptoms(hosted)
    hosted.plugin(version="1.1", allowed_egress=egress)
    _, told = run(hosted, "plugins", "doctor", hosted.wheels)
    (grew,) = (symptom for symptom in told.value["symptoms"] if symptom["name"] == "grew")
    assert "https://new.example:443" in grew["what"]
    before = hosted.wheels / "before"
    before.mkdir()
    for wheel in [*hosted.wheels.glob("*-1.0-*")]:
        wheel.rename(before / wheel.name)
    assert "grew" not in symptoms(hosted)
    assert "grew" in symptoms(hosted, "--previous", before)
    assert "downgrade" not in symptoms(hosted, "--previous", before)


def test_a_release_that_is_older_than_what_was_there_is_said(hosted: HostedDeployment) -> None:
    hosted.plugin(version="1.0")
    newer = hosted.plugin(version="1.1", folder="before")
    assert symptoms(hosted, "--previous", newer.parent)["downgrade"] == "warning"
    hosted.revoke(newer)
    hosted.refresh()
    assert "downgrade" not in symptoms(hosted, "--previous", newer.parent)


def test_a_release_that_rests_on_a_retired_key_is_said(hosted: HostedDeployment) -> None:
    import hashlib

    wheel = hosted.plugin()
    digest = f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    retired = hosted.sim.rules["principals"]["owner"] | {"status": "retired", "accepted": [digest]}
    hosted.policy("principals.owner", retired)
    hosted.refresh()
    assert symptoms(hosted)["key-retired"] == "warning"


@pytest.mark.parametrize(
    "words", [("--within", "soon"), ("--within", "-1"), ("--within", "99999"), ("--host-api", "x y")]
)
def test_a_checkup_that_makes_no_sense_is_refused(hosted: HostedDeployment, words: tuple[str, str]) -> None:
    with pytest.raises(LoadlockError) as caught:
        run(hosted, "plugins", "doctor", hosted.wheels, *words)
    assert caught.value.code == "usage.arguments"


# -- a registry --------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with registry_with_token(monkeypatch) as server:
        yield server


def ask(*words: object) -> Told:
    told = Told()
    assert invoke([str(word) for word in words], told) == 0
    return told


def test_a_registry_is_read_page_by_page(registry: Registry) -> None:
    registry.says("/v1/plugins?after=", {"plugins": [{"plugin_id": "a", "artifacts": 2}], "next": "a"})
    registry.says("/v1/plugins?after=a", {"plugins": [{"plugin_id": "b\x1b[31m", "artifacts": 1}], "next": None})
    told = ask("plugins", "ls", "--server", registry.url)
    assert told.lines == ["a  2", "b?[31m  1"]
    rows = [{"plugin_id": "a", "version": "1", "tier": "core", "digest": "d", "admitted_at": "t", "revoked": [{}]}]
    registry.says("/v1/plugins/a", {"artifacts": rows})
    assert ask("plugins", "ls", "a", "--server", registry.url).value["plugins"][0]["state"] == "revoked"


def test_a_registry_that_answers_otherwise_is_refused(registry: Registry) -> None:
    for answer, code in (
        ({"plugins": "many"}, "server.refused"),
        ({"plugins": [], "next": "../x"}, "usage.arguments"),
    ):
        registry.says("/v1/plugins?after=", answer)
        with pytest.raises(LoadlockError) as caught:
            ask("plugins", "ls", "--server", registry.url)
        assert caught.value.code == code
    digest = "sha256:" + "0" * 64
    registry.says(f"/v1/artifacts/{digest}", {"manifest": {"v": 1}, "revoked": []})
    for words in (("plugins", "info", digest), ("plugins", "info", "name"), ("plugins", "ls", "unknown")):
        with pytest.raises(LoadlockError) as caught:
            ask(*words, "--server", registry.url)
        assert caught.value.code in ("format.schema", "usage.arguments", "registry.unknown")


def test_what_the_registry_says_is_called_its_word(hosted: HostedDeployment, registry: Registry) -> None:
    manifest = run(hosted, "plugins", "info", hosted.plugin())[1].value["manifest"]
    digest = manifest["artifact_digest"]
    registry.says(f"/v1/artifacts/{digest}", {"manifest": manifest, "tier": "core", "revoked": []})
    told = ask("plugins", "info", digest, "--server", registry.url)
    assert "has not verified it" in told.lines[0]
    assert told.value["verified"] is False
