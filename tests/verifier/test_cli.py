"""The host's commands: each exit status for its own reason, one JSON object, and the plugin blamed for what is its."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadlock.cli import main
from loadlock.testing.loopback import status
from tests.hosts import PACKAGE, HostedDeployment, set_of
from verifier.cli import MAX_ARGUMENTS
from verifier.runtime.stamps import FIELDS

SOURCE = inspect.cleandoc(
    """
    import sys, verifier.errors
    def echo(*args): return args[0] if args else "hello"
    def fails(): raise KeyError("\\x1b[31mred")
    def exits(): sys.exit(0)
    def refuses(): raise verifier.errors.Refused("revoked.artifact", "it pretends to be the verifier")
    def interrupts(): raise KeyboardInterrupt
    def prints(): print("printed"); return {"a": {1}}
    def infinite(): return float("inf")
    def reaches(): import socket; return socket.gethostbyname("localhost")
    def logs():
        import logging
        logging.getLogger("sample").warning("logged")
    class Unshowable:
        def __repr__(self): raise ValueError("no words")
    class Worse(Exception):
        def __str__(self): raise ValueError("no words")
    def worse(): raise Worse
    """
)
NAMES = (
    "echo",
    "fails",
    "exits",
    "refuses",
    "interrupts",
    "prints",
    "reaches",
    "infinite",
    "logs",
    "Unshowable",
    "worse",
    "nothing",
)
ENTRIES = {"exporters": {name: f"sample_plugin:{name}" for name in NAMES}}


class Command:
    """``loadlock`` in this process, on one host."""

    def __init__(self, hosted: HostedDeployment, capsys: pytest.CaptureFixture[str]) -> None:
        self.hosted = hosted
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        """The exit status, and what stood on standard output and standard error."""
        code = main(["--deployment", str(self.hosted.directory), *map(str, words)])
        said = self._capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, said.out, said.err

    def json(self, *words: str | Path) -> tuple[int, Any]:
        """The exit status and the one JSON object."""
        code, out, err = self(*words, "--json")
        assert out.endswith("}\n")
        assert err == ""
        return code, json.loads(out)

    def run(self, name: str, *words: str) -> tuple[int, Any]:
        """``loadlock run`` of one entry point of a plugin, which is taken out of the process again."""
        wheel = self.hosted.plugin({PACKAGE: SOURCE}, entry_points=ENTRIES)
        try:
            return self.json("run", wheel, "--entry", f"exporters:{name}", *words)
        finally:
            forget()


def forget() -> None:
    """Take whatever a command loaded out of this process."""
    from verifier.importing import Owner
    from verifier.importing.registration import _FINDER, Registration

    for portion in _FINDER.portions:
        Registration(portion, Owner("", "")).unregister()


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment
        forget()


@pytest.fixture
def loadlock(hosted: HostedDeployment, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(hosted, capsys)


# -- verify ------------------------------------------------------------------------------------------------------------


def test_a_missing_wheel_is_wrong_usage(loadlock: Command) -> None:
    code, said = loadlock.json("verify", "nothing.whl")
    assert (code, said["ok"], said["plugins"][0]["error"]["code"]) == (2, False, "wheel.unreadable")
    code, out, _ = loadlock("verify", "nothing.whl")
    assert code == 2
    assert "[wheel.unreadable] cannot read wheel 'nothing.whl'" in out


def test_a_refusal_names_step_and_code(loadlock: Command, hosted: HostedDeployment) -> None:
    wheel = hosted.put(hosted.sim.wheel(), None)
    code, said = loadlock.json("verify", wheel)
    [plugin] = said["plugins"]
    assert (code, said["ok"], plugin["ok"], plugin["file"]) == (1, False, False, wheel.name)
    assert (plugin["error"]["code"], plugin["error"]["step"]) == ("set.missing", 3)
    assert [step["outcome"] for step in plugin["steps"]] == ["passed", "passed", "passed", "refused"]
    _, out, _ = loadlock("verify", wheel)
    assert "  NO   3 attestation set" in out
    assert "  next:     " in out


def test_of_several_wheels_each_is_looked_at(loadlock: Command, hosted: HostedDeployment) -> None:
    good, bad = hosted.plugin(), hosted.put(hosted.sim.wheel("other-plugin"), None)
    code, said = loadlock.json("verify", bad, "nothing.whl", good)
    assert code == 2
    assert [plugin["ok"] for plugin in said["plugins"]] == [False, False, True]
    code, said = loadlock.json("verify", good, bad)
    assert code == 1
    assert [plugin.get("error", {}).get("code") for plugin in said["plugins"]] == [None, "set.missing"]


def test_locked_dependencies_are_looked_for_where_the_operator_says(
    loadlock: Command, hosted: HostedDeployment, tmp_path: Path
) -> None:
    locked = hosted.dependency("leftpad", house="elsewhere")
    code = {PACKAGE: "import leftpad\n\ndef hello():\n    return leftpad.VERSION\n"}
    wheel = hosted.plugin(code, requires=["leftpad"], locks=[locked])
    status, said = loadlock.json("verify", wheel)
    [plugin] = said["plugins"]
    assert (status, plugin["error"]["code"], plugin["error"]["step"]) == (1, "dependency.unavailable", 8)
    status, said = loadlock.json("verify", wheel, "--wheelhouse", locked.parent)
    digest = f"sha256:{hashlib.sha256(locked.read_bytes()).hexdigest()}"
    assert status == 0
    assert said["plugins"][0]["facts"]["dependencies"] == [{"name": "leftpad", "version": "1.0", "sha256": digest}]
    assert said["plugins"][0]["steps"][8]["detail"].endswith("1 dependencies locked")
    status, said = loadlock.json("run", wheel, "--entry", "exporters:hello", "--wheelhouse", locked.parent)
    assert (status, said["value"]) == (0, "1.0")


def test_no_wheel_at_all_is_wrong_usage(loadlock: Command) -> None:
    code, said = loadlock.json("verify")
    assert (code, said["error"]["code"]) == (2, "usage.arguments")


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--classification", "secret"], "decision.classification"), (["--hermetic"], "decision.hermetic")],
)
def test_what_the_operator_asks_is_asked(
    loadlock: Command, hosted: HostedDeployment, words: list[str], code: str
) -> None:
    status_, said = loadlock.json("verify", hosted.plugin(), *words)
    assert (status_, said["plugins"][0]["error"]["code"]) == (1, code)


@pytest.mark.parametrize("words", [["--tier", "highest"], ["--classification", "none"], ["--no-such-option"]])
def test_an_option_that_does_not_exist_is_wrong_usage(
    loadlock: Command, hosted: HostedDeployment, words: list[str]
) -> None:
    code, said = loadlock.json("verify", hosted.plugin(), *words)
    assert (code, said["error"]["code"]) == (2, "usage.arguments")


def test_a_host_that_is_not_enrolled_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--deployment", str(tmp_path), "x.whl", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "trust.missing"
    assert main(["verify", "--deployment", str(tmp_path / "nothing"), "x.whl", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage.deployment"


def test_what_verifies_is_said_with_its_facts(loadlock: Command, hosted: HostedDeployment) -> None:
    wheel = hosted.plugin(maturity="alpha")
    code, said = loadlock.json("verify", wheel)
    [plugin] = said["plugins"]
    facts = plugin["facts"]
    assert (code, said["ok"], plugin["ok"]) == (0, True, True)
    assert [step["step"] for step in plugin["steps"]] == list(range(13))
    assert set(plugin["steps"][0]) == {"step", "title", "outcome", "detail", "ms"}
    assert (facts["plugin_id"], facts["version"], facts["tier"]) == ("sample_plugin", "1.0", "core")
    assert set(facts["signers"].values()) == {"owner", "builder", "certifier"}
    assert set(facts["list"]) == {"epoch", "seq", "age_seconds"}
    assert facts["warnings"] == ["the plugin's maturity is alpha"]
    _, out, _ = loadlock("verify", wheel)
    assert "verified: sample_plugin 1.0 at tier core, not revoked as of list seq 0, 0 min old" in out
    assert "warning: the plugin's maturity is alpha" in out


def test_a_file_name_that_is_no_text_is_still_shown(loadlock: Command, hosted: HostedDeployment) -> None:
    code, said = loadlock.json("verify", hosted.wheels / "caf\udce9.whl")
    assert (code, said["plugins"][0]["file"]) == (2, "caf\udce9.whl")
    code, out, _ = loadlock("verify", hosted.wheels / "caf\udce9.whl")
    assert code == 2
    assert "caf\\udce9.whl" in out


# -- run ---------------------------------------------------------------------------------------------------------------

BLAME = {
    "fails": "KeyError",
    "exits": "SystemExit",
    "refuses": "Refused",
    "Unshowable": "ValueError: no words",
    "worse": "Worse",
}


@pytest.mark.parametrize("name", BLAME)
def test_what_a_plugin_does_wrong_is_its_own_failure(loadlock: Command, name: str) -> None:
    code, said = loadlock.run(name)
    assert (code, said["ok"], said["error"]["code"]) == (4, False, "plugin.failed")
    assert said["error"]["found"].startswith(BLAME[name])
    assert "\x1b" not in said["error"]["found"]


def test_a_plugin_that_cannot_be_imported_is_its_own_failure(loadlock: Command, hosted: HostedDeployment) -> None:
    code, said = loadlock.json("run", hosted.plugin({PACKAGE: "raise SystemExit(0)"}), "--entry", "exporters:hello")
    assert (code, said["error"]["code"]) == (4, "plugin.failed")


def test_an_interrupt_is_the_persons(hosted: HostedDeployment) -> None:
    wheel = hosted.plugin({PACKAGE: SOURCE}, entry_points=ENTRIES)
    words = ["--deployment", str(hosted.directory), "run", str(wheel), "--entry", "exporters:interrupts"]
    assert main(words) == 130


@pytest.mark.parametrize(
    ("entry", "status_", "code"),
    [
        ("exporters", 2, "usage.arguments"),
        ("exporters:other", 1, "manifest.entry-point"),
        ("exporters:nothing", 1, "manifest.entry-point"),
        (":", 1, "manifest.entry-point"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(
    loadlock: Command, hosted: HostedDeployment, entry: str, status_: int, code: str
) -> None:
    wheel = hosted.plugin({PACKAGE: SOURCE}, entry_points=ENTRIES)
    found, said = loadlock.json("run", wheel, "--entry", entry)
    assert (found, said["error"]["code"]) == (status_, code)


ARGUMENTS = {
    "no JSON": "[1",
    "no array": '{"a": 1}',
    "not a number": "[NaN]",
    "one key twice": '[{"a": 1, "a": 2}]',
    "too deep": "[" * 5000 + "]" * 5000,
    "too long": '["' + "x" * MAX_ARGUMENTS + '"]',
    "no UTF-8": '["\udcff"]',
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_are_malformed_are_wrong_usage(loadlock: Command, case: str) -> None:
    code, said = loadlock.run("echo", "--args", ARGUMENTS[case])
    assert (code, said["error"]["code"]) == (2, "usage.arguments")


def test_a_revoked_plugin_does_not_run(loadlock: Command, hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    hosted.revoke(wheel)
    hosted.refresh()
    code, said = loadlock.json("run", wheel, "--entry", "exporters:hello")
    assert (code, said["error"]["code"], said["error"]["step"]) == (1, "revoked.artifact", 2)


@pytest.mark.parametrize("value", ["text", 1, True, None, 1.5, "\ud83d\ude00"])
def test_a_plain_value_is_handed_on_as_it_is(loadlock: Command, value: object) -> None:
    code, said = loadlock.run("echo", "--args", json.dumps([value]))
    assert (code, said["ok"]) == (0, True)
    assert said["value"] == (value if not isinstance(value, str) else json.loads(json.dumps(value)))
    assert len(said["run_id"]) == 32
    assert said["facts"]["plugin_id"] == "sample_plugin"


def test_a_value_that_json_does_not_have_is_put_into_words(loadlock: Command) -> None:
    assert loadlock.run("infinite")[1]["value"] == "inf"
    assert loadlock.run("echo", "--args", "[[1]]")[1]["value"] == "[1]"


def test_what_a_plugin_prints_does_not_disturb_the_one_object(loadlock: Command, hosted: HostedDeployment) -> None:
    wheel = hosted.plugin({PACKAGE: SOURCE}, entry_points=ENTRIES)
    code, out, err = loadlock("run", wheel, "--entry", "exporters:prints", "--json")
    assert (code, json.loads(out)["value"], err) == (0, "{'a': {1}}", "printed\n")
    forget()
    code, out, err = loadlock("run", wheel, "--entry", "exporters:prints")
    assert (code, out, err) == (0, "printed\n{'a': {1}}\n", "")


def test_what_a_plugin_reaches_for_is_said_and_changes_nothing(loadlock: Command, hosted: HostedDeployment) -> None:
    code, said = loadlock.run("reaches")
    assert (code, said["value"], said["observed"]["coverage"]) == (0, "127.0.0.1", "in-process")
    [finding] = said["observed"]["findings"]
    assert (finding["verdict"], finding["record"]["kind"], finding["record"]["target"]) == (
        "undeclared", "resolve", "localhost",
    )  # fmt: skip
    wheel = hosted.plugin({PACKAGE: SOURCE}, entry_points=ENTRIES)
    code, out, _ = loadlock("run", wheel, "--entry", "exporters:reaches")
    assert code == 0
    assert "undeclared: resolve 'localhost': " in out


def test_what_a_plugin_logs_carries_the_run(
    loadlock: Command, caplog: pytest.LogCaptureFixture, hosted: HostedDeployment
) -> None:
    with caplog.at_level(logging.WARNING):
        wheel = hosted.plugin({PACKAGE: SOURCE}, entry_points=ENTRIES)
        _, out, _ = loadlock("run", wheel, "--entry", "exporters:logs", "--json")
    [record] = [record for record in caplog.records if record.message == "logged"]
    said = json.loads(out)
    expected = ("sample_plugin", said["facts"]["artifact_digest"], said["run_id"])
    assert tuple(getattr(record, name) for name in FIELDS) == expected


# -- host enroll and host sync -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "status_", "code"),
    [("sha256:" + "0" * 64, 1, "trust.root"), ("0" * 64, 2, "usage.arguments"), ("md5:00", 2, "usage.arguments")],
)
def test_enrolment_with_a_wrong_root_leaves_nothing(
    hosted: HostedDeployment, tmp_path: Path, capsys: pytest.CaptureFixture[str], root: str, status_: int, code: str
) -> None:
    place = tmp_path / "new"
    words = ["host", "enroll", hosted.server.url, "--root", root, "--deployment", str(place), "--json"]
    assert main(words) == status_
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    assert not (place / "host.json").exists()


def test_a_second_enrolment_is_wrong_usage(loadlock: Command, hosted: HostedDeployment) -> None:
    code, said = loadlock.json("host", "enroll", hosted.server.url, "--root", hosted.root)
    assert (code, said["error"]["code"]) == (2, "usage.exists")


@pytest.mark.parametrize(
    "words", [["host", "sync"], ["host", "enroll", "http://127.0.0.1:9", "--root", "sha256:" + "0" * 64]]
)
def test_a_server_that_is_down_could_not_be_reached(
    loadlock: Command, hosted: HostedDeployment, words: list[str]
) -> None:
    hosted.server.stop()
    code, said = loadlock.json(*words)
    assert (code, said["error"]["code"]) == (3, "unreachable.server")


def test_a_list_that_is_refused_is_a_refusal(loadlock: Command, hosted: HostedDeployment) -> None:
    hosted.publish_head(deployment="other")
    code, said = loadlock.json("host", "sync")
    assert (code, said["error"]["code"]) == (1, "list.deployment")


def test_a_set_that_the_server_does_not_have_is_refused(loadlock: Command, hosted: HostedDeployment) -> None:
    code, said = loadlock.json("host", "sync", hosted.put(hosted.sim.wheel(), None))
    assert (code, said["error"]["code"]) == (1, "set.missing")
    hosted.server.lies["lists/head.json"] = status(500)
    assert loadlock.json("host", "sync", "nothing.whl")[0] == 3


def test_sync_fetches_trust_list_and_sets(loadlock: Command, hosted: HostedDeployment) -> None:
    wheel = hosted.plugin()
    set_of(wheel).unlink()
    assert loadlock.json("verify", wheel)[1]["plugins"][0]["error"]["code"] == "set.missing"
    hosted.sim.revoke("sha256:" + "0" * 64, now=hosted.now)
    hosted.publish()
    code, said = loadlock.json("host", "sync", wheel)
    assert code == 0
    counts = {"policy": 1, "epoch": 1, "seq": 1, "entries": 1, "sets": 1, "installed": []}
    assert said == {"ok": True, "deployment": "acme", "root": hosted.root, **counts}
    assert loadlock("verify", wheel)[0] == 0
    code, out, _ = loadlock("host", "sync", wheel)
    assert code == 0
    assert "Revocation list seq 1, 1 entries, fresh until " in out
    assert "Attestation sets fetched: 1." in out


@pytest.mark.parametrize("how", ["option", "environment", "current directory"])
def test_enrolment_goes_where_the_deployment_is_looked_for(
    hosted: HostedDeployment,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    place = tmp_path / (".loadlock" if how == "current directory" else "new")
    monkeypatch.chdir(tmp_path)
    words = ["host", "enroll", hosted.server.url, "--root", hosted.root]
    if how == "option":
        words += ["--deployment", str(place)]
    elif how == "environment":
        monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(place))
    assert main(words) == 0
    assert f"Enrolled in deployment 'acme'; pinned {hosted.root}." in capsys.readouterr().out
    assert (place / "host.json").is_file()
    deployment = ["--deployment", str(place)] if how == "option" else []
    assert main(["verify", str(hosted.plugin()), *deployment]) == 0
