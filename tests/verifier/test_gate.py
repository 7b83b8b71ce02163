"""What a gate verifies: the wheel and the set that lie on disk, against the trust, the list and the moment of now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment, code_of, set_of
from tests.simulator import PluginWheel
from verifier.deployment.ground import open_ground
from verifier.deployment.home import Home
from verifier.errors import LoadlockError, Refused, UsageError
from verifier.formats.dsse import MAX_SET
from verifier.gate import Gate
from verifier.judging.decide import Request
from verifier.judging.steps import Outcome
from verifier.wheels.wheel import DEFAULT_LIMITS


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


def stored_set(hosted: HostedDeployment, wheel: PluginWheel) -> Path:
    return Home(hosted.directory).set_path(wheel.digest.removeprefix("sha256:"))


# -- the wheel on disk ------------------------------------------------------------------------------------------------


def test_a_wheel_that_is_not_there_is_wrong_usage(hosted: HostedDeployment) -> None:
    with pytest.raises(UsageError) as caught:
        hosted.gate().verify(hosted.wheels / "sample_plugin-1.0-py3-none-any.whl")
    assert caught.value.code == "wheel.unreadable"


def test_a_directory_is_no_wheel(hosted: HostedDeployment) -> None:
    (hosted.wheels / "sample_plugin-1.0-py3-none-any.whl").mkdir()
    gate = hosted.gate()
    assert code_of(lambda: gate.load(hosted.wheels / "sample_plugin-1.0-py3-none-any.whl")) == "wheel.unreadable"


def test_a_pipe_that_nobody_writes_to_is_no_wheel(hosted: HostedDeployment) -> None:
    pipe = hosted.wheels / "sample_plugin-1.0-py3-none-any.whl"
    os.mkfifo(pipe)
    gate = hosted.gate()
    assert code_of(lambda: gate.load(pipe)) == "wheel.unreadable"


def test_a_device_without_an_end_is_no_wheel(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    assert code_of(lambda: gate.verify("/dev/zero")) == "wheel.unreadable"


@pytest.mark.parametrize("name", ["a\0b.whl", "x" * 300 + ".whl", "loop.whl"])
def test_a_name_that_no_file_has_is_no_wheel(hosted: HostedDeployment, name: str) -> None:
    (hosted.wheels / "loop.whl").symlink_to("loop.whl")
    gate = hosted.gate()
    assert code_of(lambda: gate.verify(hosted.wheels / name)) == "wheel.unreadable"


def test_a_huge_wheel_is_refused_before_it_is_held(hosted: HostedDeployment) -> None:
    huge = hosted.wheels / "sample_plugin-1.0-py3-none-any.whl"
    with huge.open("wb") as stream:
        stream.truncate(DEFAULT_LIMITS.archive + 1)
    with pytest.raises(Refused) as caught:
        hosted.gate().verify(huge)
    assert (caught.value.code, caught.value.step) == ("wheel.too-large", 1)


def test_a_link_to_a_wheel_of_another_name_is_refused(hosted: HostedDeployment) -> None:
    link = hosted.wheels / "sample_plugin-2.0-py3-none-any.whl"
    link.symlink_to(hosted.plugin())
    set_of(link).symlink_to(set_of(hosted.wheels / "sample_plugin-1.0-py3-none-any.whl"))
    gate = hosted.gate()
    assert code_of(lambda: gate.verify(link)) == "wheel.metadata"


def test_a_link_to_a_wheel_of_the_same_name_verifies(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin(folder="store")
    link = hosted.wheels / wheel.name
    link.symlink_to(wheel)
    set_of(link).symlink_to(set_of(wheel))
    assert hosted.gate().verify(str(link)).plugin_id == "sample_plugin"


# -- the set -----------------------------------------------------------------------------------------------------------


def test_a_wheel_without_a_set_is_refused(hosted: HostedDeployment) -> None:
    wheel = hosted.put(hosted.sim.wheel(), None)
    gate = hosted.gate()
    assert code_of(lambda: gate.load(wheel)) == "set.missing"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path)])
def test_what_is_no_file_is_no_set(hosted: HostedDeployment, make: object) -> None:
    wheel = hosted.put(hosted.sim.wheel(), None)
    make(set_of(wheel))  # type: ignore[operator]
    gate = hosted.gate()
    assert code_of(lambda: gate.load(wheel)) == "set.missing"


MALFORMED = {
    "empty": (b"", "set.count"),
    "another document": (b"{}\n", "format.schema"),
    "no JSON": (b"not json\n", "format.syntax"),
    "huge": (bytes(MAX_SET + 1), "format.too-large"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_set_beside_the_wheel_is_refused(hosted: HostedDeployment, case: str) -> None:
    content, code = MALFORMED[case]
    wheel = hosted.put(hosted.sim.wheel(), content)
    with pytest.raises(Refused) as caught:
        hosted.gate().load(wheel)
    assert caught.value.code == code


def test_the_set_of_another_wheel_is_refused(hosted: HostedDeployment) -> None:
    hosted.plugin(folder="other", version="1.1")
    wheel = hosted.put(
        hosted.sim.wheel(), set_of(hosted.wheels / "other" / "sample_plugin-1.1-py3-none-any.whl").read_bytes()
    )
    gate = hosted.gate()
    assert code_of(lambda: gate.load(wheel)) == "subject.digest"


def test_a_set_in_the_hosts_directory_serves_a_wheel_that_has_none_beside_it(hosted: HostedDeployment) -> None:
    made = hosted.sim.wheel()
    wheel = hosted.put(made, None)
    stored_set(hosted, made).parent.mkdir()
    stored_set(hosted, made).write_bytes(hosted.claims(made).sign())
    assert hosted.gate().verify(wheel).artifact_digest == made.digest


def test_the_set_beside_the_wheel_comes_first(hosted: HostedDeployment) -> None:
    made = hosted.sim.wheel()
    wheel = hosted.put(made, b"{}\n")
    stored_set(hosted, made).parent.mkdir()
    stored_set(hosted, made).write_bytes(hosted.claims(made).sign())
    gate = hosted.gate()
    assert code_of(lambda: gate.verify(wheel)) == "format.schema"


# -- trust, list and time ----------------------------------------------------------------------------------------------


def test_a_host_that_never_refreshed_has_no_gate(hosted: HostedDeployment, tmp_path: Path) -> None:
    from verifier.refreshing.refresh import enroll

    home = enroll(hosted.server.url, hosted.root, tmp_path / "fresh")
    assert code_of(lambda: Gate(home)) == "trust.missing"


def test_a_directory_without_enrolment_has_no_gate(tmp_path: Path) -> None:
    assert code_of(lambda: Gate.open(tmp_path)) == "trust.missing"
    assert code_of(lambda: Gate.open(tmp_path / "nothing")) == "usage.deployment"


@pytest.mark.parametrize("text", [None, b"", b"{}"])
def test_the_record_of_what_was_seen_is_needed_at_every_start(hosted: HostedDeployment, text: bytes | None) -> None:
    record = hosted.directory / "state.json"
    record.unlink() if text is None else record.write_bytes(text)
    assert code_of(hosted.gate) == "list.state"


def test_what_another_process_fetched_counts_at_the_next_verification(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    assert gate.verify(wheel).list_seq == 0
    hosted.revoke(wheel)
    assert gate.verify(wheel).list_seq == 0  # the server knows; this host has not heard
    hosted.refresh()
    assert code_of(lambda: gate.verify(wheel)) == "revoked.artifact"


def test_a_fresh_list_becomes_stale_then_refuses(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    assert gate.verify(wheel).warnings == ()
    hosted.pass_time(timedelta(hours=6))  # the list's life is over; the tier's grace is a day
    facts = gate.verify(wheel)
    assert facts.list_age == timedelta(hours=6)
    assert [warning for warning in facts.warnings if "grace" in warning]
    hosted.pass_time(timedelta(hours=24) - timedelta(seconds=1))
    gate.verify(wheel)
    hosted.pass_time(timedelta(seconds=1))
    with pytest.raises(Refused) as caught:
        gate.load(wheel)
    assert (caught.value.code, caught.value.step) == ("list.stale", 12)


def test_a_clock_behind_the_last_signed_moment_is_refused(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    hosted.pass_time(timedelta(minutes=-5))
    gate.verify(wheel)
    hosted.pass_time(timedelta(seconds=-1))
    assert code_of(lambda: gate.load(wheel)) == "clock.behind"


def test_a_policy_that_ended_is_refused(hosted: HostedDeployment) -> None:
    wheel, gate = hosted.plugin(), hosted.gate()
    hosted.pass_time(timedelta(days=30))
    assert code_of(lambda: gate.load(wheel)) == "trust.expired"


def test_a_head_keys_end_comes_without_anything_changing_on_disk(hosted: HostedDeployment) -> None:
    ends = f"{hosted.now + timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}"
    [head_key] = hosted.sim.rules["head_keys"]
    hosted.policy("head_keys", [head_key | {"not_after": ends}])
    hosted.refresh()
    wheel, gate = hosted.plugin(), hosted.gate()
    gate.verify(wheel)
    hosted.pass_time(timedelta(hours=3))
    assert code_of(lambda: gate.verify(wheel)) == "list.key-expired"


def test_trust_that_is_changed_on_disk_is_noticed_by_the_next_gate(hosted: HostedDeployment) -> None:
    [stored] = (hosted.directory / "trust").glob("*.json")
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes().replace(b"production", b"evelopment"))
    assert code_of(hosted.gate) == "trust.missing"


def test_a_clock_without_a_zone_is_no_clock(hosted: HostedDeployment) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the mistake
    with pytest.raises(UsageError) as caught:
        hosted.gate(clock=lambda: naive)
    assert caught.value.code == "usage.configuration"


def test_a_clock_that_fails_lets_nothing_in(hosted: HostedDeployment) -> None:
    gate, wheel = hosted.gate(), hosted.plugin()

    def broken() -> datetime:
        raise OSError("no clock")

    gate._clock = broken
    with pytest.raises(OSError, match="no clock"):
        gate.load(wheel)
    assert gate.plugins == ()


def test_the_ground_is_what_stands_on_disk(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    before = gate.ground
    opened = open_ground(gate.home, hosted.now)
    assert (before.trust, before.revocations.head) == (opened.trust, opened.revocations.head)
    assert gate.ground is before
    hosted.policy("denied_plugins", ["other_plugin"])
    hosted.refresh()
    assert gate.ground is not before
    assert gate.ground.trust.policy.denied_plugins == ("other_plugin",)


# -- what the host asks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Request(isolations=frozenset()), "decision.isolation"),
        (Request(classification="secret"), "decision.classification"),
        (Request(hermetic=True), "decision.hermetic"),
    ],
)
def test_what_the_host_asks_of_every_plugin_is_asked(hosted: HostedDeployment, request_: Request, code: str) -> None:
    wheel, gate = hosted.plugin(), hosted.gate(request=request_)
    assert code_of(lambda: gate.load(wheel)) == code


def test_what_the_host_provides_is_looked_up_in_its_own_environment(hosted: HostedDeployment) -> None:
    missing = hosted.plugin(host_provided=["no-such-distribution"])
    gate = hosted.gate()
    assert code_of(lambda: gate.verify(missing)) == "dependency.missing"
    gate.verify(hosted.plugin(host_provided=["cryptography>=1"], folder="provided"))
    own = hosted.gate(request=Request(provided={"no-such-distribution": "1.0"}.get))
    own.verify(missing)


def test_each_step_is_told_once(hosted: HostedDeployment) -> None:
    steps: list[Outcome] = []
    hosted.gate().verify(hosted.plugin(), observe=steps.append)
    assert [step.step for step in steps] == list(range(13))
    unsigned, seen = hosted.put(hosted.sim.wheel(version="1.1"), None), list[Outcome]()
    with pytest.raises(LoadlockError):
        hosted.gate().verify(unsigned, observe=seen.append)
    assert [(step.step, step.outcome) for step in seen][-1] == (3, "refused")
