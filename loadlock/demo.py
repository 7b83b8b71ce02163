"""``loadlock demo``: the whole story on one machine, with real commands, a real server and real refusals."""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadlock import attacks
from loadlock.narrator import Narrator
from loadlock.stage import Stage, example_plugin
from verifier.command import Command, Output

if TYPE_CHECKING:
    from verifier.gate import Gate, Plugin

ROWS = [{"name": "Ada", "year": 1815}, {"name": "Grace", "year": 1906}]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--build-wheelhouse", metavar="DIR", help="wheels of the build backend, to build without a network"
    )
    parser.add_argument("--keep", metavar="DIR", help="play in this new directory and leave it there")


def _demo(args: argparse.Namespace, output: Output) -> int:
    narrator = Narrator(output)
    output.say("Loadlock's story on one machine: every line below is a real command, a real check, a real refusal.")
    with tempfile.TemporaryDirectory(prefix="loadlock-demo-") as scratch:
        root = Path(args.keep) if args.keep else Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        stage = Stage(root.resolve())
        house = args.build_wheelhouse or os.environ.get("LOADLOCK_DEMO_WHEELHOUSE")
        try:
            _play(_Story(stage, narrator, house))
        finally:
            stage.stop_server()
    right = sum(step.right for step in narrator.steps)
    output.say()
    output.say(f"{right} of {len(narrator.steps)} steps ended as they should.")
    output.result(narrator.document())
    return 0 if narrator.ok else 1


class _Story:
    """What the chapters hand on to one another."""

    def __init__(self, stage: Stage, narrator: Narrator, house: str | None) -> None:
        self.stage = stage
        self.narrator = narrator
        self.build_options = ["--build-wheelhouse", house] if house else []
        self.wheel = Path()
        self.other = Path()
        self.misendorsed = Path()
        self.gate: Gate | None = None
        self.plugin: Plugin | None = None

    def command(self, name: str, sentence: str, *words: str | Path, deployment: Path | None = None) -> dict[str, Any]:
        """One command that has to work."""
        where = deployment or self.stage.operator
        result: dict[str, Any] = self.narrator.step(name, sentence, lambda: self.stage.run(*words, deployment=where))
        return result


def _play(story: _Story) -> None:
    _found(story)
    _attest(story)
    _publish(story)
    _run(story)
    _refuse(story)
    _revoke(story)


def _found(story: _Story) -> None:
    story.narrator.chapter("The operator founds a deployment")
    stage = story.stage
    made = story.narrator.step(
        "init", "loadlock init: keys, trust policy, first checkpoint, first signed list",
        lambda: stage.run("init", stage.operator, "--id", "acme", "--profile", "demo", "--server", stage.url),
    )  # fmt: skip
    story.narrator.tell(f"root of trust {made['root']}")
    roles = ("--builder", "builder", "--certifier", "certifier")
    story.command("key", "loadlock key new: a key for another plugin's owner", "key", "new", stage.root / "team-b.pem")
    public = stage.root / "team-b.pem.pub"
    story.command("principal", "loadlock trust add-principal: the policy knows that owner",
                  "trust", "add-principal", "team-b", "--public-key", public)  # fmt: skip
    for plugin, owner in (("csv_exporter", "owner"), ("tsv_exporter", "owner"), ("pdf_exporter", "team-b")):
        story.command("policy", f"loadlock trust add-plugin: who may act for {plugin}",
                      "trust", "add-plugin", plugin, *roles, "--owner", owner)  # fmt: skip
    story.narrator.step("serve", "loadlock serve: the server starts on loopback", stage.start_server)


def _attest(story: _Story) -> None:
    story.narrator.chapter("CI builds and attests; the owner and the certifier sign elsewhere")
    stage = story.stage
    source = stage.repository(example_plugin(), "csv-exporter")
    made = story.command("attest", "loadlock attest: build from the commit, describe, sign as the builder",
                         "attest", source, "-o", stage.dist, *story.build_options)  # fmt: skip
    story.wheel = Path(made["wheel"])
    story.narrator.tell(f"{story.wheel.name}, {made['digest']}")
    unendorsed = stage.root / "unendorsed"
    _copy_folder(stage.dist, unendorsed)
    expires = f"{datetime.now(UTC) + timedelta(days=90):%Y-%m-%d}"
    certify = ("certify", "--yes", "--tier", "core", "--expires", expires)
    story.command("endorse", "loadlock endorse: the owner signs what the plugin may touch", "endorse", story.wheel)
    story.command("certify", "loadlock certify: security countersigns it for tier core", *certify, story.wheel)
    other = stage.repository(
        example_plugin(), "tsv-exporter", {"csv_exporter": "tsv_exporter", "csv-exporter": "tsv-exporter"}
    )
    made = story.command("attest", "loadlock attest: another plugin of the same owner",
                         "attest", other, "-o", stage.dist, *story.build_options)  # fmt: skip
    story.other = Path(made["wheel"])
    story.command("endorse", "loadlock endorse: the other plugin's manifest is signed", "endorse", story.other)
    # An attacker's set: the right wheel, endorsed with the key of another plugin's owner.
    story.misendorsed = unendorsed / story.wheel.name
    stage.run("endorse", story.misendorsed, "--key", stage.root / "team-b.pem", deployment=stage.operator)


def _publish(story: _Story) -> None:
    story.narrator.chapter("The registry admits it, and a host enrols")
    stage = story.stage
    token = story.command(
        "token", "loadlock token create: CI may publish", "token", "create", "ci", "--role", "publisher"
    )
    token_file = stage.root / "token"
    token_file.write_text(token["token"], encoding="ascii")
    token_file.chmod(0o600)
    story.command("publish", "loadlock publish: the server verifies it and admits it",
                  "publish", story.wheel, "--server", stage.url, "--token-file", token_file)  # fmt: skip
    root = stage.run("trust", "policy", deployment=stage.operator)["root"]
    story.command("enroll", "loadlock host enroll: the host pins root and floor, fetches policy and list",
                  "host", "enroll", stage.url, "--root", root, deployment=stage.host)  # fmt: skip


def _run(story: _Story) -> None:
    story.narrator.chapter("The host verifies, loads and calls")
    result = story.command(
        "verify", "loadlock verify: thirteen steps", "verify", story.wheel, deployment=story.stage.host
    )
    for step in result["plugins"][0]["steps"]:
        story.narrator.tell(f"{step['step']:>2} {step['title']:<22}{step['detail']}")
    story.plugin = story.narrator.step("load", "Gate.load: verified, then imported from memory", lambda: _load(story))
    text = story.narrator.step("call", "The entry point exporters:csv is called", lambda: _call(story))
    story.narrator.tell(repr(text))


def _load(story: _Story) -> Plugin:
    from verifier.gate import Gate

    story.gate = Gate.open(story.stage.host)
    return story.gate.load(story.wheel)


def _call(story: _Story) -> Any:
    assert story.plugin is not None  # noqa: S101 - the step before loaded it
    return story.plugin.entry_point("exporters", "csv")(ROWS)


def _refuse(story: _Story) -> None:
    story.narrator.chapter("What is not right is refused, each for its own reason")
    stage, wheel = story.stage, story.wheel
    _verify_refused(story, attacks.UNSIGNED, attacks.copy_of(wheel, stage.root / "unsigned", with_set=False))
    _verify_refused(story, attacks.TAMPERED, attacks.tampered(wheel, stage.root / "tampered"))
    _verify_refused(story, attacks.SWAPPED, attacks.with_manifest_of(wheel, story.other, stage.root / "swapped"))
    _verify_refused(story, attacks.FOREIGN_SIGNER, story.misendorsed)
    story.narrator.refusal(*attacks.STALE, lambda: attacks.verify_later(stage, wheel, timedelta(days=3)))


def _revoke(story: _Story) -> None:
    story.narrator.chapter("Security revokes; the host hears of it; nobody can take the news back")
    stage, wheel = story.stage, story.wheel
    old = (stage.operator / "public" / "lists" / "head.json").read_bytes()
    story.command("revoke", "loadlock revoke: one digest, in a list signed at once",
                  "revoke", wheel, "--reason", "vulnerability", "--note", "demo")  # fmt: skip
    story.command("sync", "loadlock host sync: the host fetches the new list", "host", "sync", deployment=stage.host)
    _sync_refused(story, attacks.ROLLED_BACK, old)
    _sync_refused(story, attacks.FOREIGN_LIST, attacks.head_for_another_deployment(stage))
    _verify_refused(story, attacks.REVOKED, wheel)
    story.narrator.refusal(*attacks.RUNNING, lambda: _call_again(story))


def _call_again(story: _Story) -> None:
    assert story.gate is not None  # noqa: S101 - an earlier chapter opened it
    story.gate.refresh()
    _call(story)


def _verify_refused(story: _Story, attack: attacks.Attack, wheel: Path) -> None:
    story.narrator.refusal(*attack, lambda: _verify(story, wheel))


def _verify(story: _Story, wheel: Path) -> None:
    from verifier.gate import Gate

    Gate.open(story.stage.host).verify(wheel)


def _sync_refused(story: _Story, attack: attacks.Attack, head: bytes) -> None:
    with attacks.head_replaced(story.stage, head):
        story.narrator.refusal(*attack, lambda: story.stage.run("host", "sync", deployment=story.stage.host))


def _copy_folder(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target)


COMMANDS: tuple[Command, ...] = (Command("demo", "play the whole story on this machine", _configure, _demo),)
