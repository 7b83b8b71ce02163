"""Acknowledging: a host tells what it judges by, after the fact, and neither waits nor fails for it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from loadlock.testing.loopback import status
from tests.hosts import HostedDeployment, code_of, in_fresh_process
from verifier.commands.doctor import Checkup, Symptom, examine, of_coverage
from verifier.deployment.home import Home
from verifier.formats.acknowledgement import HostIdentity, parse_acknowledgement, parse_identity
from verifier.formats.text import Name
from verifier.gate import Gate
from verifier.refreshing.acknowledging import (
    ENVIRONMENT,
    REPEAT,
    Reporter,
    acknowledged,
    identity_path,
    in_effect,
    read_identity,
    reporter_of,
    write_identity,
)

TOKEN = "loadlock_" + "a" * 43
ADDRESS = "v1/hosts/web-1/acknowledgement"
PATIENCE = 20.0


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        write_identity(deployment.home, HostIdentity(v=1, host=Name("web-1"), token=TOKEN))
        yield deployment


def claims(hosted: HostedDeployment) -> list[Any]:
    """What was told so far."""
    return [parse_acknowledgement(body) for _, _, body in hosted.server.posted]


def reporter(hosted: HostedDeployment, gate: Gate) -> Reporter:
    found = reporter_of(hosted.home, lambda: in_effect(gate._opened.ground, gate.plugins), hosted.clock, 0.01)
    assert found is not None
    return found


def until(condition: Callable[[], object]) -> None:
    end, pause = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        pause.wait(0.01)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666])
def test_a_token_that_everybody_can_read_is_not_used(hosted: HostedDeployment, mode: int) -> None:
    os.chmod(identity_path(hosted.home), mode)
    assert code_of(lambda: read_identity(hosted.home)) == "usage.configuration"
    gate = hosted.gate()
    gate.watch(0.02)
    assert gate._reporter is None


@pytest.mark.parametrize(
    "change", [{"v": 2}, {"host": "Web 1"}, {"token": "short"}, {"token": "a" * 30 + "\n"}, {"more": 1}]
)
def test_a_malformed_identity_is_refused_and_harms_nothing(hosted: HostedDeployment, change: dict[str, Any]) -> None:
    path = identity_path(hosted.home)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert code_of(lambda: read_identity(hosted.home)) == "format.schema"
    plugin, gate = hosted.plugin(), hosted.gate()
    gate.watch(0.02)
    assert gate.load(plugin).entry_point("exporters", "hello")() == "hello"


def test_a_token_is_not_sent_over_plain_http(hosted: HostedDeployment, caplog: pytest.LogCaptureFixture) -> None:
    record = json.loads((hosted.directory / "host.json").read_text()) | {"server": "http://loadlock.example"}
    (hosted.directory / "host.json").write_text(json.dumps(record))
    gate = hosted.gate()
    home = Home(hosted.directory)
    assert reporter_of(home, lambda: in_effect(gate._opened.ground, ()), hosted.clock) is None
    assert "over plain http" in caplog.text
    assert TOKEN not in caplog.text


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_host_tells_what_it_judges_by_and_runs(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    told = reporter(hosted, gate)
    told.tell()
    told.tell()
    plugin = gate.load(hosted.plugin())
    told.tell()
    hosted.publish_head()
    hosted.revoke(hosted.wheels / "sample_plugin-1.0-py3-none-any.whl")
    told.tell()
    gate.refresh()
    told.tell()
    assert [(path, token) for path, token, _ in hosted.server.posted] == [(ADDRESS, f"Bearer {TOKEN}")] * 3
    first, second, third = claims(hosted)
    assert (first.deployment, first.host, first.plugins, first.seq) == ("acme", "web-1", (), 0)
    assert [(one.id, one.digest, one.state) for one in second.plugins] == [
        ("sample_plugin", plugin.facts.artifact_digest, "running")
    ]
    assert (third.seq, third.plugins[0].state) == (gate.ground.revocations.head.seq, "stopped")
    assert first.instance == second.instance == third.instance
    noted = acknowledged(hosted.home)
    assert noted is not None
    assert (noted.epoch, noted.seq) == (third.epoch, third.seq)


def test_the_same_is_told_again_after_a_while(hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reporter(hosted, hosted.gate())
    told.tell()
    later = time.monotonic() + REPEAT
    monkeypatch.setattr("verifier.refreshing.acknowledging.time.monotonic", lambda: later)
    told.tell()
    assert len(claims(hosted)) == 2


def test_what_was_not_taken_is_told_again(hosted: HostedDeployment) -> None:
    told = reporter(hosted, hosted.gate())
    for answer, code in ((status(503), "unreachable.server"), (status(401), "server.refused")):
        hosted.server.lies[ADDRESS] = answer
        assert code_of(told.tell) == code
    assert acknowledged(hosted.home) is None
    hosted.server.lies.clear()
    told.tell()
    assert len(claims(hosted)) == 3


def test_more_plugins_than_fit_are_counted(hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = hosted.gate()
    gate.load(hosted.plugin())
    gate.load(hosted.plugin(name="other-plugin"))
    monkeypatch.setattr("verifier.refreshing.acknowledging.MAX_PLUGINS", 1)
    found = in_effect(gate._opened.ground, gate.plugins)
    assert (len(found.plugins), found.omitted) == (1, 1)


def test_the_watch_tells_of_a_revocation_once_it_is_enforced(hosted: HostedDeployment) -> None:
    gate = hosted.gate()
    wheel = hosted.plugin()
    plugin = gate.load(wheel)
    enforced: list[bool] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        stopped = any(one.state == "stopped" for one in claims(hosted)[-1].plugins)
        enforced.append(stopped == (plugin.revoked is not None) or not stopped)
        status(202, b"{}")(handler)

    hosted.server.lies[ADDRESS] = answer
    gate.watch(0.05)
    until(lambda: claims(hosted))
    hosted.revoke(wheel)
    until(lambda: claims(hosted)[-1].plugins[0].state == "stopped")
    assert claims(hosted)[-1].seq == gate.ground.revocations.head.seq
    assert all(enforced)
    gate.close()
    count = len(claims(hosted))
    assert not threading.Event().wait(0.1)
    assert len(claims(hosted)) == count


# -- what it does not do -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", ["no identity", "turned off"])
def test_who_does_not_want_to_tell_tells_nothing(hosted: HostedDeployment, silent: str) -> None:
    if silent == "no identity":
        identity_path(hosted.home).unlink()
    gate = hosted.gate()
    gate.watch(0.02, acknowledge=silent == "no identity")
    assert gate._reporter is None


def test_a_server_that_does_not_answer_holds_nobody_up(hosted: HostedDeployment) -> None:
    asked, go = threading.Event(), threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        go.wait(PATIENCE)
        status(202, b"{}")(handler)

    hosted.server.lies[ADDRESS] = hang
    wheel, gate = hosted.plugin(), hosted.gate()
    gate.watch(0.02)
    assert asked.wait(PATIENCE)
    plugin = gate.load(wheel)
    assert plugin.entry_point("exporters", "hello")() == "hello"
    hosted.revoke(wheel)
    until(lambda: plugin.revoked)
    go.set()


def test_a_directory_that_cannot_be_written_is_no_reason_to_fail(
    hosted: HostedDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hosted.directory / "acknowledged.json").mkdir()
    told = reporter(hosted, hosted.gate())
    told.tell()
    assert len(claims(hosted)) == 1
    assert acknowledged(hosted.home) is None


def test_the_identity_may_lie_elsewhere(
    hosted: HostedDeployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "secrets" / "identity.json"
    place.parent.mkdir()
    identity_path(hosted.home).rename(place)
    assert read_identity(hosted.home) is None
    monkeypatch.setenv(ENVIRONMENT, str(place))
    found = read_identity(hosted.home)
    assert found is not None
    assert found.host == "web-1"


FORKED = """
import os, sys, threading, time
from verifier import Gate
from verifier.deployment.home import Home
import verifier.refreshing.acknowledging
verifier.refreshing.acknowledging.LOOK = 0.02
gate = Gate.open(sys.argv[1])
reporter = verifier.refreshing.acknowledging.reporter_of(
    gate.home, lambda: verifier.refreshing.acknowledging.in_effect(gate._opened.ground, gate.plugins), gate._now, 0.02
)
reporter.start()
path = os.path.join(sys.argv[1], "acknowledged.json")
def wait():
    end = time.monotonic() + 15
    while time.monotonic() < end and not os.path.exists(path):
        time.sleep(0.01)
    os.unlink(path)
wait()
child = os.fork()
if child == 0:
    wait()
    os._exit(0)
_, status = os.waitpid(child, 0)
print(status)
"""


def test_a_forked_child_tells_as_an_instance_of_its_own(hosted: HostedDeployment) -> None:
    assert in_fresh_process(FORKED, hosted.directory) == "0"
    assert len({claim.instance for claim in claims(hosted)}) == 2


# -- the identity, and the doctor --------------------------------------------------------------------------------------


def test_an_identity_is_written_for_its_owner_alone(hosted: HostedDeployment) -> None:
    path = identity_path(hosted.home)
    assert path.stat().st_mode & 0o777 == 0o600
    assert parse_identity(path.read_bytes()).token == TOKEN


def symptoms(hosted: HostedDeployment, **later: float) -> list[str]:
    gate = hosted.gate()
    checkup = Checkup(hosted.now + timedelta(**later), timedelta(0))
    return [str(one.what) for one in examine(gate.ground, gate.home, [], [], checkup) if one.name == "unacknowledged"]


def test_the_doctor_misses_acknowledgements(hosted: HostedDeployment) -> None:
    assert symptoms(hosted) == ["has never acknowledged a list"]
    reporter(hosted, hosted.gate()).tell()
    assert symptoms(hosted) == []
    assert "acknowledged seq 0" in symptoms(hosted, minutes=61)[0]
    hosted.revoke(hosted.plugin())
    hosted.refresh()
    assert "goes by seq 1" in symptoms(hosted)[0]
    os.chmod(identity_path(hosted.home), 0o644)
    assert "acknowledges nothing" in symptoms(hosted)[0]
    identity_path(hosted.home).unlink()
    assert symptoms(hosted) == []


def test_the_doctor_says_what_a_server_says_of_hosts() -> None:
    answer = {"lagging": ["web-1"], "silent": ["web-2", "\x1b[31m"], "hosts": 3}
    assert of_coverage(answer) == [
        Symptom("warning", "host-lagging", "web-1", "goes by an older list than the server's"),
        Symptom("warning", "host-silent", "web-2", "is not heard of any more"),
        Symptom("warning", "host-silent", "?[31m", "is not heard of any more"),
    ]
    assert of_coverage({"lagging": "all"}) == []
