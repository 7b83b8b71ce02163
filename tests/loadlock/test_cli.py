"""The root of the command line: what it finds, what it says when it does not, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from loadlock import cli
from loadlock.cli import main
from tests.hosts import HostedDeployment
from verifier.command import Command
from verifier.errors import LoadlockError, PluginFailed, Refused, Unreachable, UsageError
from verifier.formats.strict_json import loads

Ran = subprocess.CompletedProcess[str]


def loadlock(*words: str | Path, cwd: Path | None = None, **environment: str) -> Ran:
    """Run the command as a person does, in a process of its own; it never shows a traceback unasked."""
    kept = {name: value for name, value in os.environ.items() if name != "LOADLOCK_DEPLOYMENT"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "loadlock", *map(str, words)],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "--debug" in words or "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path_factory.mktemp("hosted")) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def wheel(hosted: HostedDeployment) -> Path:
    return hosted.plugin()


def pretend(monkeypatch: pytest.MonkeyPatch, run: Callable[..., int | None], name: str = "act") -> None:
    """Let one package contribute one command."""
    commands = (Command(name, "acts", lambda parser: None, run),)
    monkeypatch.setattr(cli, "_packages", lambda: iter([("verifier", commands)]))


# -- wrong usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "no such command: 'frobnicate'"),
        (["frob\x1b[31m"], "no such command: 'frob\\x1b[31m'"),
        (["--frobnicate"], "there is no command"),
        (["--deployment", "x"], "there is no command"),
        (["--deployment", "x", "frobnicate"], "no such command: 'frobnicate'"),
        (["host"], "host enroll, host identify, host sync, host exec, host prepare"),
        (["host", "frobnicate"], "host enroll, host identify, host sync, host exec, host prepare"),
        (["verify", "--frobnicate", "x.whl"], "does not take that"),
        ([""], "no such command: ''"),
    ],
)
def test_wrong_usage_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    from verifier.cli import COMMANDS

    monkeypatch.setattr(cli, "_packages", lambda: iter([("verifier", COMMANDS)]))
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("[usage.arguments] ")
    assert said in printed.err
    assert "--help" in printed.err
    assert main([*words, "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.err == ""
    document = json.loads(printed.out)
    assert (document["ok"], document["error"]["code"]) == (False, "usage.arguments")


def test_a_command_of_a_part_that_is_not_installed_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.MODULES, "crl_server", "tests.loadlock.no_such_module")
    assert main(["serve"]) == 2
    assert "without the extras for crl_server" in capsys.readouterr().err


def test_a_part_of_loadlock_itself_that_is_broken_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.MODULES, "verifier", "verifier.no_such_module")
    assert main(["verify"]) == 1
    assert capsys.readouterr().err.startswith("[internal.unexpected]")


# -- exit statuses -----------------------------------------------------------------------------------------------------

RAISED: dict[str, tuple[BaseException, int]] = {
    "refused": (Refused("set.missing", "no"), 1),
    "usage": (UsageError("usage.arguments", "no"), 2),
    "unreachable": (Unreachable("unreachable.server", "no"), 3),
    "plugin": (PluginFailed("plugin.failed", "no"), 4),
    "unforeseen": (ZeroDivisionError("\x1b[31mno"), 1),
    "a pipe of its own": (BrokenPipeError("no"), 1),
    "interrupted": (KeyboardInterrupt(), 130),
}


@pytest.mark.parametrize("case", RAISED)
@pytest.mark.parametrize("options", [[], ["--json"], ["--debug"], ["--json", "--debug"]], ids=" ".join)
def test_every_error_ends_in_words_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str, options: list[str]
) -> None:
    error, status = RAISED[case]

    def fail(*_: object) -> None:
        raise error

    pretend(monkeypatch, fail)
    assert main(["act", *options]) == status
    printed = capsys.readouterr()
    if case == "interrupted":
        assert printed.out + printed.err == ""
        return
    code = error.code if isinstance(error, LoadlockError) else "internal.unexpected"
    assert ("Traceback" in printed.err) == ("--debug" in options)
    if "--json" in options:
        assert json.loads(printed.out)["error"]["code"] == code
    else:
        assert f"[{code}] " in printed.err
    assert "\x1b" not in printed.out + printed.err.partition("Traceback")[0]


@pytest.mark.parametrize(("value", "status"), [(None, 0), (0, 0), (1, 1), (2, 2)])
def test_a_command_may_say_its_status_itself(monkeypatch: pytest.MonkeyPatch, value: int | None, status: int) -> None:
    pretend(monkeypatch, lambda *_: value)
    assert main(["act"]) == status


def test_a_name_of_two_words_is_found_before_one_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    both = tuple(Command(n, "", lambda p: None, lambda *_, n=n: ran.append(n)) for n in ("act", "act now"))
    monkeypatch.setattr(cli, "_packages", lambda: iter([("verifier", both)]))
    assert main(["act", "now"]) == 0
    assert main(["act"]) == 0
    assert ran == ["act now", "act"]


# -- as a person runs it -----------------------------------------------------------------------------------------------


def test_the_statuses_arrive_in_a_shell(hosted: HostedDeployment, wheel: Path, tmp_path: Path) -> None:
    alone = tmp_path / wheel.name
    alone.write_bytes(wheel.read_bytes())
    failing = hosted.plugin({"other_plugin/__init__.py": "def hello(): 1 / 0"}, name="other-plugin")
    assert loadlock("verify", wheel, "--deployment", hosted.directory).returncode == 0
    refused = loadlock("verify", alone, "--deployment", hosted.directory)
    assert (refused.returncode, "[set.missing]" in refused.stdout) == (1, True)
    failed = loadlock("run", failing, "--entry", "exporters:hello", "--deployment", hosted.directory)
    assert failed.returncode == 4
    assert failed.stderr.startswith(
        "[plugin.failed] the plugin raised an error\n  found:    ZeroDivisionError: division"
    )
    usage = loadlock("verify", wheel, cwd=tmp_path)
    assert (usage.returncode, usage.stderr.splitlines()[0]) == (2, "[usage.deployment] no deployment found")
    gone = loadlock("host", "enroll", "http://127.0.0.1:9", "--root", "sha256:" + "0" * 64, cwd=tmp_path)
    assert (gone.returncode, gone.stderr.startswith("[unreachable.server]")) == (3, True)


def test_a_traceback_is_shown_to_who_asks_for_one(hosted: HostedDeployment, tmp_path: Path) -> None:
    done = loadlock("verify", "--debug", tmp_path / "x.whl", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "[usage.deployment]" in done.stderr


@pytest.mark.parametrize(
    "order", ["before", "after", "joined", "environment", "found upward", "option over environment"]
)
def test_the_deployment_is_found(hosted: HostedDeployment, wheel: Path, tmp_path: Path, order: str) -> None:
    here, deep = str(hosted.directory), tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    words: Sequence[str | Path] = ["verify", wheel]
    environment = {}
    if order == "before":
        words = ["--deployment", here, *words]
    elif order == "after":
        words = [*words, "--deployment", here]
    elif order == "joined":
        words = [f"--deployment={here}", *words]
    elif order == "environment":
        environment["LOADLOCK_DEPLOYMENT"] = here
    elif order == "found upward":
        (tmp_path / ".loadlock").symlink_to(here)
    else:
        environment["LOADLOCK_DEPLOYMENT"] = str(tmp_path / "nothing")
        words = [*words, "--deployment", here]
    done = loadlock(*words, cwd=deep, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("verified: sample_plugin 1.0")


def test_json_is_one_object_also_before_the_command(hosted: HostedDeployment, wheel: Path) -> None:
    done = loadlock("--json", "--deployment", hosted.directory, "verify", wheel)
    document = loads(done.stdout.encode(), limit=100_000, what="output")
    assert isinstance(document, dict)
    assert (done.returncode, document["ok"], done.stderr) == (0, True, "")


UNREAD = [
    ["--help"],
    ["verify", "--help"],
    ["verify", "{wheel}"],
    ["verify", "{wheel}", "--json"],
    ["nothing", "--json"],
]


@pytest.mark.parametrize("words", UNREAD, ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_it_ends_quietly_when_nobody_reads(
    hosted: HostedDeployment, wheel: Path, words: list[str], unbuffered: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "loadlock", "--deployment", str(hosted.directory), *words]
    with os.fdopen(writer, "wb") as unread:
        done = subprocess.run(
            [word.replace("{wheel}", str(wheel)) for word in command],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=unread,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stderr == ""
    up_to_argparse = unbuffered and words == ["verify", "--help"]  # its later releases do not mind
    assert done.returncode in ((0, 1) if up_to_argparse else (1,))


@pytest.mark.parametrize("words", [words for words in UNREAD if words != ["verify", "--help"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_said_once(hosted: HostedDeployment, wheel: Path, words: list[str], unbuffered: str) -> None:
    command = [sys.executable, "-m", "loadlock", "--deployment", str(hosted.directory), *words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [word.replace("{wheel}", str(wheel)) for word in command],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stderr.splitlines()[:2] == [
        "[io.failed] cannot write to standard output", "  found:    No space left on device"
    ]  # fmt: skip
    assert len(done.stderr.splitlines()) == 3
    assert done.returncode == 3


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("option", ["", "--json"])
def test_closed_streams_change_nothing_of_the_outcome(
    hosted: HostedDeployment, wheel: Path, closed: str, option: str
) -> None:
    for name, status in ((wheel, 0), (wheel.with_name("absent-1.0-py3-none-any.whl"), 2)):
        command = f"exec {sys.executable} -m loadlock verify {name} --deployment {hosted.directory} {option} {closed}"
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False)


def test_a_working_directory_that_was_removed_holds_no_deployment(tmp_path: Path) -> None:
    script = (
        f"cd {tmp_path} && mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -m loadlock verify x.whl"
    )
    kept = {name: value for name, value in os.environ.items() if name != "LOADLOCK_DEPLOYMENT"}
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, env=kept, timeout=60, check=False)
    assert (done.returncode, done.stderr.partition("]")[0]) == (2, "[usage.deployment")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_that_knows_few_letters_sees_escapes(
    hosted: HostedDeployment, tmp_path: Path, encoding: str
) -> None:
    name = tmp_path / "caf\udce9-\u00fc.whl"
    words: list[str | Path] = ["verify", name, "--deployment", hosted.directory]
    done = loadlock(*words, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert "caf\\udce9-" in done.stdout
    document = json.loads(loadlock(*words, "--json", PYTHONIOENCODING=encoding).stdout)
    assert document["plugins"][0]["file"] == name.name


# -- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_reads_like_a_table_of_contents(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    known = dict(cli._packages())
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "usage: loadlock COMMAND [options]"
    assert [line for line in lines if line.endswith(":")] == [f"{cli.PACKAGES[package]}:" for package in known]
    commands = [command for several in known.values() for command in several]
    width = max(len(command.name) for command in commands)
    for command in commands:
        assert f"  {command.name:<{width}}  {command.help}" in lines
    assert any(line.startswith("Exit status: 0 ") for line in lines)
    assert main([*words, "--json"]) == 0
    names = json.loads(capsys.readouterr().out)["commands"]
    assert [*names] == [command.name for command in commands]


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from verifier.cli import COMMANDS

    for command in COMMANDS:
        assert main([*command.name.split(), "--help"]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"usage: loadlock {command.name} ")
        assert all(option in said for option in ("--deployment DIR", "--json", "--debug"))


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"loadlock {version('loadlock')}\n"
    assert main(["--version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": version("loadlock")}
