"""A key is replaced, and a plugin passes to another owner: by real commands, with real keys, judged by a real host."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestor.commands.places import WheelFiles
from attestor.signing.signers import load_signer, new_key, public_pem
from crl_server.access.roles import Identity
from crl_server.operating.serving import utc_now
from crl_server.plugins.admission import Upload
from loadlock.cli import invoke
from tests.attestor.conftest import Signers
from tests.attestor.releases import Shelf
from tests.crl_server.deployments import made
from tests.crl_server.live import Live, address_of, listen
from tests.crl_server.test_cli import Recorder
from verifier.deployment.home import Home
from verifier.errors import LoadlockError
from verifier.formats.dsse import Envelope, dump_envelope, parse_envelope
from verifier.formats.statement import MANIFEST
from verifier.gate import Gate
from verifier.refreshing.refresh import enroll, refresh

PLUGIN = "csv_exporter"
PUBLISHER = Identity("local:test", frozenset({"publisher"}))


class World:
    """A deployment with its server, a plugin with its people, and a host."""

    def __init__(self, place: Path) -> None:
        listening = listen()
        now = utc_now().replace(microsecond=0)
        self.place = place
        self.authority = made(place / "acme", now=now, server=address_of(listening))
        self.live = Live(self.authority, listening)
        self.live.now = now
        keys = place / "acme" / "principals"
        people = {name: load_signer(keys / f"{name}.pem") for name in ("builder", "owner", "certifier")}
        self.shelf = Shelf(place / "shelf", Signers(keys, stranger=new_key(place / "other-team.pem"), **people))
        self.keys = {"owner": keys / "owner.pem", "other-team": place / "other-team.pem"}
        (keys / "owner.pem.pub").write_bytes(public_pem(people["owner"].public_key))
        text = (place / "acme" / "policy.toml").read_text().replace('"provenance", ', "")
        (place / "acme" / "policy.toml").write_text("# ours\n" + text)
        self.run("trust", "add-principal", "other-team", "--public-key", f"{self.keys['other-team']}.pub")
        roles = [part for role in ("builder", "owner", "certifier") for part in (f"--{role}", role)]
        self.run("trust", "add-plugin", PLUGIN, *roles)

    def run(self, *words: object) -> dict[str, Any]:
        """``loadlock WORDS…`` on the deployment; its JSON object."""
        output = Recorder()
        invoke([str(word) for word in (*words, "--deployment", self.place / "acme")], output)
        self.lines = output.lines
        return output.value

    def refused(self, *words: object) -> LoadlockError:
        """The error of a command that leaves the policy as it is."""
        before = (self.place / "acme" / "policy.toml").read_bytes()
        with pytest.raises(LoadlockError) as caught:
            self.run(*words)
        assert (self.place / "acme" / "policy.toml").read_bytes() == before
        return caught.value

    def new_key(self, name: str) -> Path:
        self.run("key", "new", self.place / f"{name}.pem")
        return self.place / f"{name}.pem"

    def as_owner(self, key: Path) -> Shelf:
        return replace(self.shelf, signers=replace(self.shelf.signers, owner=load_signer(key)))

    def admit(self, files: WheelFiles) -> str:
        """Hand a release to the registry; its digest."""
        upload = Upload(files.wheel.name, files.read_wheel(), files.read_attestations() or b"")
        return str(self.authority.admit(upload, PUBLISHER, utc_now()).digest)

    def verdict(self, files: WheelFiles) -> str:
        """What a host that has refreshed says: ``ok`` or the refusal's code."""
        directory = self.place / "host"
        if not directory.exists():
            refresh(enroll(self.live.address, str(self.run("trust", "policy", "--show")["root"]), directory), utc_now())
        with Gate(Home(directory)) as gate:
            gate.refresh()
            try:
                gate.verify(files.wheel)
            except LoadlockError as error:
                return error.code
        return "ok"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for variable in ("LOADLOCK_KEY", "LOADLOCK_PUBLIC_KEY", "LOADLOCK_DEPLOYMENT"):
        monkeypatch.delenv(variable, raising=False)
    made = World(tmp_path)
    with made.live:
        yield made
    made.authority.close()


def policy(world: World) -> dict[str, Any]:
    return tomllib.loads((world.place / "acme" / "policy.toml").read_text())


# -- a new key ---------------------------------------------------------------------------------------------------------


def rotation(world: World, new: Path) -> Path:
    request = world.place / "rotation.json"
    world.run("key", "rotate", "owner", "--key", world.keys["owner"], "--new-key", new, "-o", request)
    return request


def test_a_key_is_replaced(world: World) -> None:
    old, forgotten = world.shelf.certified("1.0.0"), world.shelf.certified("1.0.1")
    digest = world.admit(old)
    new = world.new_key("next")
    request = rotation(world, new)
    assert world.run("trust", "rotate-principal", request, "--accept-admitted")["accepted"] == [digest]
    assert any(line.startswith("+[[principals.") or "former" in line for line in world.lines)
    assert world.verdict(old) == "ok"
    assert world.verdict(forgotten) == "signature.key-retired"  # never admitted, and so not accepted
    assert world.verdict(world.shelf.certified("1.1.0")) == "signature.key-retired"  # a thief of the old key
    released = world.as_owner(new).certified("1.2.0")
    assert world.verdict(released) == "ok"
    world.admit(released)
    # The log says on what the change rests, the text is still ours, and the same request does nothing twice.
    lines = [json.loads(line) for line in _audit(world)]
    assert any("handover sha256:" in str(line.get("detail", {}).get("why", "")) for line in lines)
    assert (world.place / "acme" / "policy.toml").read_text().startswith("# ours\n")
    assert world.refused("trust", "rotate-principal", request, "--accept-admitted").code in (
        "handover.stale", "handover.same-key",
    )  # fmt: skip


def _audit(world: World) -> list[bytes]:
    with world.authority.store.read() as ledger:
        return list(ledger.audit_lines(-1, 1000))


def test_a_key_is_replaced_a_second_time(world: World) -> None:
    first = world.shelf.certified("1.0.0")
    one = world.admit(first)
    for name in ("second", "third"):
        key = world.new_key(name)
        world.run("trust", "rotate-principal", rotation(world, key), "--accept-admitted")
        world.keys["owner"] = key
        last = world.as_owner(key).certified(f"1.1.{len(name)}")
        world.admit(last)
    former = policy(world)["principals"]["owner"]["former"]
    assert [one in entry["accepted"] for entry in former] == [True, False]
    assert [world.verdict(first), world.verdict(last)] == ["ok", "ok"]


def test_a_stolen_key_counts_for_nothing_and_needs_no_consent(world: World) -> None:
    old = world.shelf.certified("1.0.0")
    world.admit(old)
    new = world.new_key("next")
    by_hand = ("--name", "owner", "--public-key", f"{new}.pub", "--without-consent", "laptop was stolen")
    for wrong in (
        ("--compromised", "--accept-admitted", *by_hand),
        ("--accept-none", *by_hand[:-2]),
        (rotation(world, new), "--compromised", "--accept-none"),
        (rotation(world, new), *by_hand, "--accept-none"),
        ("--accept-none", *by_hand[:-1], "two\nlines"),
        ("--accept-none",),
        by_hand,
    ):
        assert world.refused("trust", "rotate-principal", *wrong).code == "usage.arguments"
    world.run("trust", "rotate-principal", "--compromised", "--accept-none", *by_hand)
    assert world.verdict(old) == "signature.key-revoked"
    assert world.verdict(world.as_owner(new).certified("1.1.0")) == "ok"
    assert b"laptop was stolen" in b"".join(_audit(world))


def test_written_to_a_file_it_is_signed_by_somebody_else(world: World) -> None:
    digest = world.admit(world.shelf.certified("1.0.0"))
    new, target = world.new_key("next"), world.place / "new-policy.toml"
    before = (world.place / "acme" / "policy.toml").read_bytes()
    words = ("trust", "rotate-principal", rotation(world, new), "--accept", digest, "--write", target)
    assert world.run(*words)["signed"] is False
    assert (world.place / "acme" / "policy.toml").read_bytes() == before
    world.run("trust", "policy", "--set-from", target)
    assert policy(world)["principals"]["owner"]["former"][0]["accepted"] == [digest]


# -- another owner -----------------------------------------------------------------------------------------------------


def offered(world: World, giver: str = "owner", taker: str = "other-team") -> Path:
    request = world.place / "handover.json"
    known = ("--key", world.keys[giver], "--new-public-key", f"{world.keys[taker]}.pub")
    world.run("handover", "offer", PLUGIN, "--from", giver, "--to", taker, *known, "-o", request)
    return request


def accepted(world: World, request: Path, giver: str = "owner", taker: str = "other-team") -> Path:
    world.run("handover", "accept", request, "--key", world.keys[taker], "--owner-key", f"{world.keys[giver]}.pub")
    return request


def test_a_plugin_passes_to_another_owner(world: World) -> None:
    old = world.shelf.certified("1.0.0")
    digest = world.admit(old)
    request = accepted(world, offered(world))
    done = world.run("trust", "transfer", request, "--accept-admitted")
    assert done["accepted"] == [digest]
    assert policy(world)["plugins"][PLUGIN]["owners"] == ["other-team"]
    assert world.verdict(old) == "ok"
    assert world.verdict(world.shelf.certified("1.1.0")) == "signature.wrong-signer"
    theirs = world.as_owner(world.keys["other-team"])
    assert world.verdict(theirs.certified("1.2.0", owner="other-team")) == "ok"
    # Whoever takes over puts their own name to it.
    assert world.verdict(theirs.certified("1.2.1")) == "manifest.owner"
    assert world.refused("trust", "transfer", request, "--accept-none").code == "handover.stale"


def test_and_back_again(world: World) -> None:
    mine = world.shelf.certified("1.0.0")
    world.admit(mine)
    world.run("trust", "transfer", accepted(world, offered(world)), "--accept-admitted")
    theirs = world.as_owner(world.keys["other-team"]).certified("1.1.0", owner="other-team")
    world.admit(theirs)
    back = accepted(world, offered(world, "other-team", "owner"), "other-team", "owner")
    world.run("trust", "transfer", back, "--accept-admitted")
    assert policy(world)["plugins"][PLUGIN]["former_owners"][0]["owner"] == "other-team"
    assert [world.verdict(files) for files in (mine, theirs, world.shelf.certified("1.2.0"))] == ["ok"] * 3


def test_without_both_nothing_passes(world: World) -> None:
    request = offered(world)
    assert world.refused("trust", "transfer", request, "--accept-none").code == "handover.unsigned"
    stranger = world.new_key("stranger")
    take = ("handover", "accept", request, "--owner-key")
    owner = f"{world.keys['owner']}.pub"
    assert world.refused(*take, owner, "--key", stranger).code == "signature.wrong-signer"
    other = world.refused(*take, f"{stranger}.pub", "--key", world.keys["other-team"])
    assert other.code == "signature.unknown-signer"
    world.keys["owner"] = stranger  # somebody who is not the owner offers it
    forged = accepted(world, offered(world))
    assert world.refused("trust", "transfer", forged, "--accept-none").code == "signature.unknown-signer"


def test_a_signature_that_is_somebody_elses_is_none(world: World) -> None:
    request = accepted(world, offered(world))
    good = parse_envelope(request.read_bytes())
    giver, taker = good.signatures
    for signatures in (
        (giver, type(taker)(keyid=taker.keyid, sig=giver.sig)),
        (type(giver)(keyid=giver.keyid, sig=taker.sig), taker),
        (giver, type(taker)(keyid=taker.keyid, sig=b"")),
    ):
        changed = Envelope(
            payload_type=good.payload_type, unverified_payload=good.unverified_payload, signatures=signatures
        )
        request.write_bytes(dump_envelope(changed))
        assert world.refused("trust", "transfer", request, "--accept-none").code == "signature.invalid"


def test_a_handover_says_what_was_signed_and_where(world: World) -> None:
    request = accepted(world, offered(world))
    assert world.refused("trust", "rotate-principal", request, "--accept-none").code == "usage.arguments"
    good = parse_envelope(request.read_bytes())
    for payload, kind, code in (
        (good.unverified_payload.replace(b"csv_exporter", b"pdf_exporter"), good.payload_type, "signature.invalid"),
        (good.unverified_payload, "application/vnd.in-toto+json", "signature.payload-type"),
    ):
        changed = Envelope(payload_type=kind, unverified_payload=payload, signatures=good.signatures)
        request.write_bytes(dump_envelope(changed))
        assert world.refused("trust", "transfer", request, "--accept-none").code == code
    elsewhere = ("--deployment-id", "elsewhere")
    known = ("--key", world.keys["owner"], "--new-public-key", f"{world.keys['other-team']}.pub")
    world.run("handover", "offer", PLUGIN, "--from", "owner", "--to", "other-team", *known, "-o", request, *elsewhere)
    accepted(world, request)
    assert world.refused("trust", "transfer", request, "--accept-none").code == "handover.stale"


def test_who_builds_or_certifies_does_not_take_over(world: World) -> None:
    words = ("trust", "transfer", "--plugin", PLUGIN, "--from", "owner", "--without-consent", "left", "--accept-none")
    assert world.refused(*words, "--to", "builder").code == "roles.not-disjoint"
    assert world.refused(*words, "--to", "certifier").code == "roles.not-disjoint"
    assert world.refused(*words, "--to", "nobody").code == "handover.stale"
    assert world.refused(*words, "--to", "owner").code == "handover.stale"
    world.run(*words, "--to", "other-team")
    assert world.verdict(world.shelf.certified("1.1.0")) == "signature.wrong-signer"


def test_a_key_that_is_in_use_is_no_new_key(world: World) -> None:
    words = ("trust", "rotate-principal", "--name", "owner", "--without-consent", "lost", "--accept-none")
    assert world.refused(*words, "--public-key", f"{world.keys['other-team']}.pub").code == "handover.same-key"
    same = ("key", "rotate", "owner", "--key", world.keys["owner"], "--new-key", world.keys["owner"], "-o", "x")
    assert world.refused(*same).code == "handover.same-key"


def test_a_release_that_runs_signs_as_before(world: World) -> None:
    files = world.shelf.certified("1.0.0")
    world.admit(files)
    assert world.verdict(files) == "ok"
    with Gate(Home(world.place / "host")) as gate:
        assert gate.verify(files.wheel).made[MANIFEST].key == load_signer(world.keys["owner"]).public_key.id


# -- and certifying across a change ------------------------------------------------------------------------------------


def test_what_was_certified_is_compared_across_a_new_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.admit(world.shelf.certified("1.0.0"))
    new, old = world.new_key("next"), f"{world.keys['owner']}.pub"
    world.run("trust", "rotate-principal", rotation(world, new), "--accept-admitted")
    monkeypatch.setenv("LOADLOCK_TOKEN", world.run("token", "create", "security", "--role", "auditor")["token"])
    released = world.as_owner(new).endorsed("1.1.0", secrets=["ARCHIVE_KEY"])
    terms = ("--yes", "--tier", "core", "--expires", "2999-01-01", "--owner-key", f"{new}.pub")
    ask = ("certify", released.wheel, *terms, "--server", world.live.address)
    assert world.refused(*ask).code == "signature.unknown-signer"
    assert world.refused(*ask, "--owner-key", old, "--refuse-growth").code == "certify.growth"
    done = world.run(*ask, "--owner-key", old)
    assert done["previous"]["version"] == "1.0.0"
    assert [(change["field"], change["grows"]) for change in done["changes"]] == [
        ("secrets", True), ("version", False),
    ]  # fmt: skip
    digest = world.admit(released)
    assert world.verdict(released) == "ok"
    rows = world.run("plugins", "ls", PLUGIN, "--server", world.live.address)["plugins"]
    assert {row["version"]: row["state"] for row in rows} == {"1.0.0": "admitted", "1.1.0": "admitted"}
    shown = world.run("plugins", "info", digest, "--server", world.live.address)
    assert (shown["verified"], shown["artifact"]["manifest"]["secrets"]) == (False, ["ARCHIVE_KEY"])
