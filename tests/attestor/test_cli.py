"""The commands, as the root calls them."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from attestor.cli import COMMANDS
from attestor.commands.places import WheelFiles
from attestor.pipeline import Attestation
from tests.attestor.conftest import EXAMPLE, Signers
from tests.wheels import build_wheel
from verifier.errors import LoadlockError, UsageError
from verifier.formats.bundle import parse_set
from verifier.progress import Lines, Progress

WHEEL = "csv_exporter-1.0.0-py3-none-any.whl"


class Recorder:
    """An output that keeps what it was told."""

    json = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress = Progress(Lines(self.say))
        self.value: dict[str, Any] = {}
        self.status: int | None = None

    def say(self, text: str = "") -> None:
        self.lines.append(text)

    def result(self, value: dict[str, Any]) -> None:
        self.value = json.loads(json.dumps(value))


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError("usage.arguments", message)


def run(name: str, *arguments: object, deployment: Path | None = None) -> Recorder:
    command = next(command for command in COMMANDS if command.name == name)
    parser = Parser(prog=name)
    parser.add_argument("--deployment")
    command.configure(parser)
    output = Recorder()
    given = [str(argument) for argument in arguments]
    where = ["--deployment", str(deployment)] if deployment else []
    output.status = command.run(parser.parse_args([*given, *where]), output)
    return output


def code_of(name: str, *arguments: object, deployment: Path | None = None) -> str:
    with pytest.raises(LoadlockError) as caught:
        run(name, *arguments, deployment=deployment)
    return caught.value.code


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No deployment and no setting of the machine is found by accident."""
    for variable in ("LOADLOCK_KEY", "LOADLOCK_DEPLOYMENT", "LOADLOCK_SERVER", "LOADLOCK_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def demo(tmp_path: Path, signers: Signers) -> Path:
    """A demo deployment, as far as the attestor sees it."""
    shutil.copytree(signers.place, tmp_path / "demo" / "principals")
    return tmp_path / "demo"


# -- refused -----------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_refused(tmp_path: Path, demo: Path) -> None:
    assert code_of("attest", "-o", "dist") == "usage.arguments"
    assert code_of("attest", "x", "--wheel", "y", "-o", "dist") == "usage.arguments"
    assert code_of("certify", "x", "--tier", "platinum", "--expires", "2030-01-01") == "usage.arguments"
    assert code_of("attest", ".", "-o", "d", "--config-setting", "x", deployment=demo) == "usage.arguments"
    assert code_of("attest", ".", "-o", "d", "--build-wheelhouse", "absent", deployment=demo) == "usage.arguments"


def test_without_a_key_nothing_is_signed(repository: Path, tmp_path: Path) -> None:
    assert code_of("attest", repository, "-o", tmp_path / "dist") == "usage.key"
    assert not (tmp_path / "dist").exists()


def test_a_deployment_that_is_named_must_exist(repository: Path, tmp_path: Path) -> None:
    assert code_of("attest", repository, "-o", "d", deployment=tmp_path / "absent") == "usage.deployment"


def test_a_failed_attest_leaves_what_was_there(repository: Path, demo: Path, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / WHEEL).write_text("old")
    (repository / "new.py").touch()
    assert code_of("attest", repository, "-o", tmp_path / "dist", deployment=demo) == "source.dirty"
    assert [path.name for path in (tmp_path / "dist").iterdir()] == [WHEEL]
    assert (tmp_path / "dist" / WHEEL).read_text() == "old"


def test_all_roles_are_signed_only_where_a_demo_has_all_keys(
    repository: Path, demo: Path, tmp_path: Path, build_wheels: Path
) -> None:
    arguments = ["attest", repository, "-o", tmp_path / "dist", "--build-wheelhouse", build_wheels, "--all-roles"]
    key = demo / "principals" / "builder.pem"
    assert code_of(*map(str, arguments), "--key", key) == "usage.deployment"
    assert not (tmp_path / "dist").exists()


def test_publishing_needs_a_set_a_server_and_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / WHEEL).write_bytes(b"x")
    assert code_of("publish", WHEEL) == "set.missing"
    (tmp_path / f"{WHEEL}.attestations.jsonl").write_bytes(b"{}\n")
    assert code_of("publish", WHEEL) == "usage.configuration"
    assert code_of("publish", WHEEL, "--server", "https://host.example") == "usage.configuration"
    monkeypatch.setenv("LOADLOCK_TOKEN", "line\nbreak")
    assert code_of("publish", WHEEL, "--server", "https://host.example") == "usage.configuration"


@pytest.mark.parametrize("date", ["soon", "2030-02-30", "2030-01-01T00:00:00", "2020-01-01", ""])
def test_a_bad_expiry_is_refused(demo: Path, endorsed_wheel: Path, date: str) -> None:
    before = WheelFiles(endorsed_wheel).read_attestations()
    terms = ("--yes", "--tier", "core", "--expires", date)
    assert code_of("certify", endorsed_wheel, *terms, deployment=demo) == "usage.arguments"
    assert WheelFiles(endorsed_wheel).read_attestations() == before


@pytest.fixture
def endorsed_wheel(attested: Attestation, demo: Path, tmp_path: Path) -> Path:
    """The example plugin, attested and endorsed; the wheel's path."""
    files = WheelFiles(tmp_path / "endorsed" / attested.file_name)
    files.wheel.parent.mkdir()
    files.wheel.write_bytes(attested.wheel)
    files.attestations.write_bytes(attested.attestations)
    files.unsigned.write_bytes(attested.unsigned)
    run("endorse", files.wheel, deployment=demo)
    return files.wheel


# -- done --------------------------------------------------------------------------------------------------------------


def test_attest_endorse_certify(repository: Path, demo: Path, tmp_path: Path, build_wheels: Path) -> None:
    dist = tmp_path / "dist"
    done = run("attest", repository, "-o", dist, "--build-wheelhouse", build_wheels, deployment=demo)
    assert done.value["awaiting"] == ["owner", "certifier"]
    assert done.lines[-1] == "awaiting owner, certifier"
    names = {path.name.removeprefix(WHEEL) for path in dist.iterdir()}
    assert names >= {"", ".attestations.jsonl", ".manifest.unsigned.json"}
    done = run("endorse", dist / WHEEL, deployment=demo)
    assert done.value["awaiting"] == ["certifier"]
    assert not (dist / f"{WHEEL}.manifest.unsigned.json").exists()
    assert code_of("endorse", dist / WHEEL, deployment=demo) == "usage.unsigned"
    done = run("certify", dist / WHEEL, "--yes", "--tier", "core", "--expires", "2999-01-01", deployment=demo)
    assert any("may talk to" in line for line in done.lines)
    assert len(parse_set((dist / f"{WHEEL}.attestations.jsonl").read_bytes())) == 4


def test_the_demo_signs_all_at_once(repository: Path, demo: Path, tmp_path: Path, build_wheels: Path) -> None:
    dist = tmp_path / "dist"
    arguments = ["-o", dist, "--build-wheelhouse", build_wheels, "--all-roles"]
    assert run("attest", repository, *arguments, deployment=demo).value["awaiting"] == []
    assert len(parse_set((dist / f"{WHEEL}.attestations.jsonl").read_bytes())) == 4
    assert not (dist / f"{WHEEL}.manifest.unsigned.json").exists()


def test_three_people_on_three_machines(repository: Path, tmp_path: Path, build_wheels: Path) -> None:
    for role in ("builder", "owner", "certifier"):
        run("key new", tmp_path / f"{role}.pem", "--alg", "ed25519")
    dist = tmp_path / "dist"
    run("attest", repository, "-o", dist, "--build-wheelhouse", build_wheels, "--key", tmp_path / "builder.pem")
    wheel = dist / WHEEL
    assert code_of("endorse", wheel, "--key", tmp_path / "owner.pem") == "usage.key"
    builder, owner = ("--builder-key", tmp_path / "builder.pem.pub"), ("--owner-key", tmp_path / "owner.pem.pub")
    run("endorse", wheel, "--key", tmp_path / "owner.pem", *builder)
    terms = ("--yes", "--tier", "core", "--expires", "2999-01-01", "--key", tmp_path / "certifier.pem")
    assert code_of("certify", wheel, *terms, *builder, "--owner-key", tmp_path / "builder.pem.pub").startswith("sig")
    run("certify", wheel, *terms, *builder, *owner)
    assert len(parse_set((dist / f"{WHEEL}.attestations.jsonl").read_bytes())) == 4


def test_a_wheel_built_elsewhere(demo: Path, tmp_path: Path, endorsed_wheel: Path) -> None:
    manifest = EXAMPLE / "PLUGIN_MANIFEST.json"
    done = run("attest", "--wheel", endorsed_wheel, "--manifest", manifest, "-o", tmp_path / "two", deployment=demo)
    assert len(parse_set(Path(done.value["attestations"]).read_bytes())) == 1


def test_all_wheels_of_a_release_are_attested_together_or_none(demo: Path, tmp_path: Path) -> None:
    files = {"csv_exporter.py": "def export(rows): return ''\n"}
    tags = ("cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-macosx_11_0_arm64", "py3-none-any")
    manifest = json.loads((EXAMPLE / "PLUGIN_MANIFEST.json").read_text())
    declared = tmp_path / "manifest.json"
    declared.write_text(json.dumps(manifest))
    words: list[object] = ["--manifest", declared, "-o", tmp_path / "dist"]
    paths = []
    for tag in tags:
        wheel = build_wheel(files, name="csv-exporter", version=manifest["version"], tag=tag)
        paths.append(tmp_path / wheel.file_name)
        paths[-1].write_bytes(wheel.data)
    several = [word for path in paths for word in ("--wheel", path)]
    assert code_of("attest", *several, "--wheel", paths[0], *words, deployment=demo) == "usage.arguments"
    damaged = tmp_path / "damaged" / paths[0].name.replace("cp311-cp311", "cp312-cp312")
    damaged.parent.mkdir()
    damaged.write_bytes(paths[0].read_bytes())
    assert code_of("attest", *several, "--wheel", damaged, *words, deployment=demo).startswith("wheel.")
    assert not (tmp_path / "dist").exists(), "one that is refused keeps all of them back"
    done = run("attest", *several, *words, deployment=demo)
    assert [Path(told["wheel"]).name for told in done.value["wheels"]] == [path.name for path in paths]
    assert len({told["digest"] for told in done.value["wheels"]}) == len(tags)
    for told in done.value["wheels"]:
        assert len(parse_set(Path(told["attestations"]).read_bytes())) == 1
        assert Path(told["unsigned"]).is_file()
        assert run("endorse", told["wheel"], deployment=demo).value["ok"] is True


def test_every_command_says_what_it_does() -> None:
    assert [command.name for command in COMMANDS] == [
        "init-plugin", "manifest draft", "validate", "attest", "check vulnerabilities", "check release", "endorse",
        "certify", "rebuild", "layout sign", "step run", "publish", "key new", "key fetch", "key rotate",
        "handover offer", "handover accept",
    ]  # fmt: skip
    assert all(command.help and len(command.help) < 60 for command in COMMANDS)
