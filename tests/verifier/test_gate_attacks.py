"""Somebody works against the gate while it works: swaps, races, and code that uses the gate from within."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import PACKAGE, HostedDeployment, code_of, set_of
from verifier.deployment.blobs import Blobs
from verifier.errors import LoadlockError, PluginRevoked
from verifier.gate import Gate, Plugin
from verifier.revocation.revocation_list import Buffer


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def switch_link(link: Path, target: Path) -> None:
    """Point a link elsewhere in one step, as an attacker does who races a reader."""
    fresh = link.with_name(f"{link.name}.new")
    fresh.symlink_to(target)
    os.replace(fresh, link)


def test_a_wheel_that_is_swapped_while_it_is_verified_is_judged_by_the_bytes_that_were_read(
    hosted: HostedDeployment,
) -> None:
    good = hosted.plugin(folder="good")
    evil = hosted.put(hosted.sim.wheel(files={PACKAGE: b"raise SystemExit"}), set_of(good).read_bytes(), "evil")
    wheel = hosted.wheels / good.name
    switch_link(wheel, good)
    switch_link(set_of(wheel), set_of(good))
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            switch_link(wheel, evil)
            switch_link(wheel, good)

    gate, outcomes = hosted.gate(), set()
    attacker = threading.Thread(target=swap)
    attacker.start()
    for _ in range(200):
        try:
            facts = gate.verify(wheel)
        except LoadlockError as error:
            outcomes.add(error.code)
        else:
            assert facts.snapshot.files[PACKAGE].startswith(b"def hello()")
            outcomes.add("verified")
    stop.set()
    attacker.join()
    assert outcomes <= {"verified", "subject.digest"}


def test_a_set_that_vanishes_between_the_look_and_the_read_is_refused(
    hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    look = os.path.isfile

    def vanish(path: Path | str) -> bool:
        found = look(path)
        Path(path).unlink(missing_ok=True)
        return found

    monkeypatch.setattr("verifier.gate.os.path.isfile", vanish)
    assert code_of(lambda: gate.verify(wheel)) == "io.failed"


def test_a_record_that_is_replaced_while_it_is_followed_is_followed_anew(
    hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    plugin = gate.load(wheel)
    hosted.sim.revoke("sha256:" + "1" * 64, now=hosted.now)
    hosted.publish()
    hosted.refresh()
    read = Blobs.read
    rounds = [hosted.plugin(name="other-plugin"), wheel]

    def overtaken(self: Blobs, kind: str, sha256: str) -> Buffer:
        if kind == "heads" and rounds:
            monkeypatch.setattr(Blobs, "read", read)
            while rounds:  # two refreshes sweep away what was in force before them
                hosted.revoke(rounds.pop(0))
                hosted.refresh()
        return read(self, kind, sha256)

    monkeypatch.setattr(Blobs, "read", overtaken)
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"
    assert code_of(plugin.check) == "plugin.revoked"


@pytest.mark.parametrize("newer", [False, True])
def test_a_directory_that_is_swapped_for_another_deployments_is_not_gone_by(
    hosted: HostedDeployment, tmp_path: Path, newer: bool
) -> None:
    wheel = hosted.plugin()
    (tmp_path / "other").mkdir()
    with HostedDeployment(tmp_path / "other") as other:
        if newer:
            other.revoke(other.plugin())
            other.refresh()
        gate = hosted.gate()
        hosted.directory.rename(tmp_path / "aside")
        hosted.directory.symlink_to(other.directory)
        if newer:  # it has heard of something that this process does not know
            assert code_of(lambda: gate.verify(wheel)) == "trust.metadata"
        else:
            assert "[trust.metadata]" in gate.verify(wheel).warnings[-1]
        hosted.directory.unlink()
        (tmp_path / "aside").rename(hosted.directory)
    assert gate.verify(wheel).warnings == ()


def test_an_older_record_that_is_put_back_is_not_gone_by_where_the_newer_was_seen(hosted: HostedDeployment) -> None:
    wheel, other, gate = hosted.plugin(), hosted.plugin(name="other-plugin"), hosted.gate()
    record = hosted.directory / "state.json"
    before = record.read_bytes()
    hosted.revoke(wheel)
    gate.refresh()
    after = record.read_bytes()
    record.write_bytes(before)
    assert code_of(lambda: gate.load(wheel)) == "revoked.artifact"
    assert "[list.rollback]" in gate.verify(other).warnings[-1]
    gate.refresh()
    assert record.read_bytes() == after
    assert gate.verify(other).warnings == ()


def test_a_callback_may_close_the_gate_from_the_watch_itself(hosted: HostedDeployment) -> None:
    wheel, closed = hosted.plugin(), threading.Event()

    def close(_: Plugin, __: PluginRevoked) -> None:
        gate.close()
        closed.set()

    gate = hosted.gate(on_revoked=close)
    plugin = gate.load(wheel)
    gate.watch(0.02)
    hosted.revoke(wheel)
    assert closed.wait(20)
    assert code_of(plugin.check) == "plugin.revoked"
    assert gate._watcher is None


def test_facts_cannot_be_loaded(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    facts = gate.verify(hosted.plugin())
    with pytest.raises(TypeError):
        gate.load(facts)  # type: ignore[arg-type]
    assert gate.plugins == ()


def test_a_root_that_is_changed_opens_no_gate(hosted: HostedDeployment) -> None:
    (hosted.directory / "root.json").write_bytes(b"{}")
    assert code_of(lambda: Gate.open(hosted.directory)) == "trust.root"
