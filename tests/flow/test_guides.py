"""What the guides show works as it is written: every command of them, in order, by real people's means."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.attestor.advisories import advisory
from tests.flow.guides import PEOPLE, WHEEL, Guide, Town, examples


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.stage.stop_server()


def test_attest(town: Town) -> None:
    town.keys.rename(town.home / "policy-keys")
    meant = {
        "…": town.token, "https://host.example": town.stage.url, "/var/lib/acme/loadlock": town.stage.host,
        "2027-01-31": "2099-01-31",
    }  # fmt: skip
    guide = Guide(town, "attest.md", meant)
    no_network = ("--build-wheelhouse", str(town.house))
    guide.play("mkdir")
    guide.play("loadlock key new ~/keys/builder.pem")
    guide.play("loadlock key new ~/keys/owner.pem")
    assert sorted(path.name for path in town.keys.iterdir())[:2] == ["builder.pem", "builder.pem.pub"]
    # From here on the readers are those whom the policy knows already.
    shutil.rmtree(town.keys)
    (town.home / "policy-keys").rename(town.keys)
    told = guide.play("loadlock attest . -o dist --key", *no_network)
    assert "bit-identical under 7 varied conditions" in told
    assert "awaiting owner, certifier" in told
    guide.play("loadlock endorse")
    first = town.project / "dist" / WHEEL
    town.certify(first)
    earlier = [path for path in first.parent.iterdir() if path.name.startswith(WHEEL)]
    for path in earlier:
        shutil.copy(path, town.home)
    town.replace("1.0.0", "1.1.0", "pyproject.toml", "PLUGIN_MANIFEST.json", "src/csv_exporter/__init__.py")
    second = town.release(certified=False)
    guide.meant = meant | {"--previous ": f"--previous {town.home}/"}
    assert "compared with 1.0.0" in guide.play("loadlock certify", "--yes")
    guide.meant = meant | {WHEEL: second.name}
    guide.play("LOADLOCK_TOKEN=… loadlock publish")
    town.stage.run("host", "sync", second, deployment=town.stage.host)
    assert "dry run: sign 2 statements as the builder" in guide.play("loadlock attest . -o dist --key", *no_network)
    guide.play("loadlock attest . -o dist --key ~/keys/builder.pem --wheelhouse", *no_network)
    guide.end()


def test_rebuild(town: Town) -> None:
    wheel = town.release()
    town.stage.run("key", "new", town.home / "rebuilder.pem")
    for path in (wheel, wheel.with_name(f"{WHEEL}.attestations.jsonl"), town.keys / "builder.pem.pub"):
        shutil.copy(path, town.home)
    guide = Guide(town, "rebuild.md", {})
    told = guide.play("loadlock rebuild", "--source", str(town.project), "--wheelhouse", str(town.house), at=town.home)
    assert "verdict             bit-identical" in told
    guide.end()


def test_owners(town: Town) -> None:
    wheel = town.release()
    town.stage.run("publish", wheel, "--server", town.stage.url, "--token-file", _token(town))
    for name in ("team-a", "team-b"):
        town.stage.run("key", "new", town.home / f"{name}.pem")
    town.operate("trust", "add-principal", "team-b", "--public-key", town.home / "team-b.pem.pub")
    for half in ("", ".pub"):
        shutil.copy(town.keys / f"owner.pem{half}", town.home / f"team-a.pem{half}")
    offline = town.stage.operator / "offline"
    guide = Guide(town, "owners.md", {"/media/policy-key": offline}, at=town.home)
    guide.play("loadlock key new next.pem")
    guide.play("loadlock key rotate")
    deployment = f"--deployment {town.stage.operator}"
    told = guide.play("loadlock trust rotate-principal rotation.json", deployment)
    assert "1 of 1 admitted releases go on counting" in told
    # The same key, stolen in its turn, and the next one.
    town.shell("loadlock key new after.pem", at=town.home)
    guide.meant = {"next.pem.pub": "after.pem.pub"}
    guide.play("loadlock trust rotate-principal --name", deployment)
    for half in ("", ".pub"):
        shutil.copy(town.home / f"after.pem{half}", town.home / f"team-a.pem{half}")
    guide.meant = {"/media/policy-key": offline}
    guide.play("loadlock handover offer")
    guide.play("loadlock handover accept")
    guide.play("loadlock trust transfer", deployment)
    guide.end()
    assert town.operate("trust", "policy", "--show")["policy"]["plugins"]["csv_exporter"]["owners"] == ("team-b",)


def _token(town: Town) -> Path:
    path = town.home / "token"
    path.write_text(town.token)
    path.chmod(0o600)
    return path


def test_checks(town: Town) -> None:
    house = ("--build-wheelhouse", town.house)
    keys, advisories = town.keys, town.home / "advisories.zip"
    _advisories(advisories)
    waivers, policy = examples("checks.md", "toml")
    (town.home / "waivers.toml").write_text(waivers.replace("2026-12-31", SOON))
    wheel = town.project / "dist" / WHEEL
    builder = ("--key", keys / "builder.pem")
    town.stage.run("attest", town.project, "-o", wheel.parent, *builder, "--once", *house)
    meant = {
        "exporter-1.0-py3-none-any.whl": WHEEL, "advisories.zip": advisories,
        "waivers.toml": town.home / "waivers.toml", "builder.pem": keys / "builder.pem",
        "owner.pub": keys / "owner.pem.pub", "certifier.pub": keys / "certifier.pem.pub",
    }  # fmt: skip
    guide = Guide(town, "checks.md", meant)
    assert "database: 1 advisories" in guide.play("loadlock check vulnerabilities")
    assert "every check passed or is waived" in guide.play("loadlock check release")
    _demand(town, "core", policy)
    town.stage.run("endorse", wheel, "--key", keys / "owner.pem", "--builder-key", keys / "builder.pem.pub")
    town.certify(wheel)
    town.stage.run("publish", wheel, "--server", town.stage.url, "--token-file", _token(town))
    before = wheel.with_name(f"{WHEEL}.attestations.jsonl").read_bytes()
    guide.play("loadlock check vulnerabilities", *map(str, builder))
    assert wheel.with_name(f"{WHEEL}.attestations.jsonl").read_bytes() != before
    guide.play("loadlock publish", "--server", town.stage.url)
    wheel.with_name(f"{WHEEL}.attestations.jsonl").unlink()
    guide.meant = meant | {"# on each host": f"--deployment {town.stage.host}"}
    guide.play("loadlock host sync", at=wheel.parent)
    guide.end()
    assert "tier core" in town.shell(f"loadlock verify dist/{WHEEL} --deployment {town.stage.host}")


def test_layout(town: Town) -> None:
    (layout,) = [block for block in examples("layout.md", "toml") if block.startswith("# layout.toml")]
    for name in ("alice", "bob"):
        town.stage.run("key", "new", town.home / f"{name}.pem")
    shutil.copy(town.keys / "builder.pem.pub", town.home / "ci.pem.pub")
    # A layout is public, and names no path of a machine.
    shutil.copytree(town.house, town.project.parent / "wheels")
    build = ("--build-wheelhouse", "../wheels", "--once")
    (town.home / "layout.toml").write_text(
        layout.replace("2027-01-31", "2099-01-31").replace('"-o", "dist"]', f'"-o", "dist", {json.dumps(build)[1:-1]}]')
    )
    keys = {name: f"{town.keys}/{role}.pem" for name, role in PEOPLE.items()}
    meant = {
        "layout.toml": town.home / "layout.toml", "layout.json": town.home / "layout.json", "2027-01-31": "2099-01-31",
        "-o dist": " ".join(["-o dist", *build]), "--links links": f"--links {town.home}/links",
        "=ci.pem": f"={keys['ci']}", "=alice.pem": f"={town.home}/alice.pem", "dist/…": f"dist/{WHEEL}", " …": "",
        "--key owner.pem": f"--key {keys['team-a']}", "owner.pem.pub": f"{keys['team-a']}.pub",
    }  # fmt: skip
    guide = Guide(town, "layout.md", meant)
    (line,) = [line for line in guide.play("loadlock layout sign").splitlines() if line.startswith("for the policy: ")]
    policy, named = (town.stage.operator / "policy.toml").read_text(), line[16:].replace("…", "team-a")
    _policy(town, policy.replace("[plugins.csv_exporter]", f"[plugins.csv_exporter]\n{named}"))
    guide.play("LOADLOCK_KEY=ci.pem loadlock step run build")
    guide.play("LOADLOCK_KEY=alice.pem loadlock step run look")
    look = "loadlock step run look --materials dist --products dist --links ~/links -- true"
    town.shell(f"LOADLOCK_KEY=~/bob.pem {look}")
    wheel = town.project / "dist" / WHEEL
    town.stage.run("endorse", wheel, "--key", keys["team-a"], "--builder-key", f"{keys['ci']}.pub")
    known = ("--builder-key", f"{keys['ci']}.pub", "--owner-key", f"{keys['team-a']}.pub")
    guide.play("loadlock certify", "--yes", "--key", keys["security"], *known)
    guide.play("loadlock publish", "--server", town.stage.url)
    guide.end()


def test_write(town: Town) -> None:
    guide = Guide(town, "write.md", {})
    guide.play("loadlock init-plugin", at=town.home)
    made = town.home / "row-archiver"
    assert {path.name for path in made.iterdir()} >= {"PLUGIN_MANIFEST.json", "src", "tests", ".github"}
    assert "0 errors" in town.shell("loadlock validate .", at=made)
    (made / "PLUGIN_MANIFEST.json").unlink()
    told = guide.play("loadlock manifest draft", at=made)
    shown = examples("write.md", "console")[1].splitlines()[2:]
    assert set(shown) <= set(told.splitlines())
    guide.play("loadlock validate", at=made, status=1)
    guide.end()


def test_plugins(town: Town) -> None:
    place, newer = town.home / "plugins", "csv_exporter-1.1.0-py3-none-any.whl"
    place.mkdir()
    (town.home / "last-week").mkdir()
    _take(town.release(), place, town.home / "last-week")
    town.replace("1.0.0", "1.1.0", "pyproject.toml", "PLUGIN_MANIFEST.json", "src/csv_exporter/__init__.py")
    _take(town.release(), place)
    shutil.copy(place / newer, place / "pdf_exporter-2.0-py3-none-any.whl")
    meant = {"/srv/plugins.last-week": town.home / "last-week", "/srv/plugins": place}
    guide = Guide(town, "plugins.md", meant)
    host = f"--deployment {town.stage.host}"
    told = guide.play("loadlock plugins ls", host, status=1)
    assert "pdf_exporter-2.0-py3-none-any.whl  refused: set.missing" in told
    assert "Exports rows as CSV" in guide.play("loadlock plugins info", host)
    told = guide.play("loadlock plugins plan", host, status=1)
    assert {line.split()[0] for line in told.splitlines()} >= {"superseded", "loads", "refused"}
    assert "3 plugins, 1 errors" in guide.play("loadlock plugins doctor", host, status=1)
    guide.end()


def _take(wheel: Path, *places: Path) -> None:
    """Put a wheel, with its set, where a host has its plugins."""
    for place in places:
        shutil.copy(wheel, place)
        shutil.copy(wheel.with_name(f"{wheel.name}.attestations.jsonl"), place)


SOON = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()


def _advisories(path: Path) -> None:
    record = advisory(package="elsewhere", modified=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X-1.json", json.dumps(record))


def _demand(town: Town, tier: str, table: str) -> None:
    """Put the guide's table of a tier in the place of the policy's own."""
    policy = (town.stage.operator / "policy.toml").read_text()
    _policy(town, re.sub(rf"^\[tiers\.{tier}\]\n(?:[^\[\n].*\n|\n)*", f"{table}\n", policy, flags=re.MULTILINE))


def _policy(town: Town, text: str) -> None:
    new = town.home / "policy.toml"
    new.write_text(text)
    town.operate("trust", "policy", "--set-from", new)
