"""What people get wrong, command by command: each gets its exit status, one error that helps, and nothing half-written.

Commands are run through the program's own door. What an error says next must be something that can be done.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadlock.cli import PACKAGES, _packages, main
from tests.project.tree import ROOT

Refusal = Callable[..., str]


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("LOADLOCK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command that has to fail, and gives back what it said."""

    def run(status: int, code: str, *words: str | Path) -> str:
        assert main([str(word) for word in words]) == status
        said = capsys.readouterr().err
        assert said.startswith(f"[{code}] "), said
        assert "\n  next:     " in said
        assert "Traceback" not in said
        return said

    return run


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A production deployment as an operator has it: the offline keys are in ``keys`` beside it."""
    place = tmp_path_factory.mktemp("founded")
    assert main(["init", str(place / "acme"), "--id", "acme"]) == 0
    (place / "acme" / "offline").rename(place / "keys")
    return place / "acme"


def content(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


# -- advice ------------------------------------------------------------------------------------------------------------


def test_advice_names_only_commands_that_there_are() -> None:
    known = {command.name for _, commands in _packages() for command in commands}
    sources = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
    named = {
        " ".join(word for word in words.split()[:2] if not word.startswith("-"))
        for path in sources
        for words in re.findall(r"'loadlock ([a-z][a-z -]*)", path.read_text(encoding="utf-8"))
    }
    assert {"host sync", "trust policy", "init"} <= named
    assert named <= known


# -- the operator ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status", "code", "said"),
    [
        (["init", "."], 2, "usage.arguments", "--id NAME"),
        (
            ["init", "new", "--id", "Acme"],
            2,
            "usage.arguments",
            "found:    'Acme'\n  expected: a lower-case ASCII name",
        ),
        (["init", "new", "--id", "a", "--host-api", "1.00"], 2, "usage.arguments", "canonical spelling ('1.0')"),
        (["init", "new", "--id", "a", "--list-lifetime", "PT1M"], 2, "usage.arguments", "PT5M to P30D"),
        (["init", "file/new", "--id", "a"], 3, "io.failed", "cannot make the deployment"),
        (["token", "ls", "--deployment", "file"], 2, "usage.deployment", "does not exist"),
        (["token", "ls", "--deployment", "."], 2, "usage.deployment", "operator"),
        (["serve"], 2, "usage.deployment", "loadlock init"),
        (["revoke", "absent.whl", "--reason", "mistake"], 2, "usage.arguments", "neither a digest nor a file"),
        (["revoke", "x\udcff", "--reason", "mistake"], 2, "usage.arguments", "x\\udcff"),
        (["revoke", "sha256:" + "a" * 63, "--reason", "mistake"], 2, "usage.arguments", "neither a digest nor a file"),
    ],
)
def test_wrong_words_to_the_service(
    refused: Refusal, tmp_path: Path, words: list[str], status: int, code: str, said: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert said in refused(status, code, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("words", "status", "code", "said"),
    [
        (["trust", "policy"], 2, "io.failed", "--keys DIR"),
        (["trust", "policy", "--keys", "{place}"], 2, "io.failed", "--keys DIR"),
        (["trust", "policy", "--keys", "{other}"], 2, "usage.key", "--keys DIR"),
        (["trust", "policy", "--keys", "{keys}", "--set-from", "absent"], 2, "io.failed", "absent"),
        (["trust", "policy", "--keys", "{keys}", "--set-from", "{keys}"], 2, "io.failed", "cannot read policy"),
        (["trust", "add-principal", "ann", "--public-key", "{keys}/targets.pem"], 2, "usage.key", "PUBLIC KEY"),
        (["trust", "add-plugin", "p-x"], 2, "usage.arguments", "found:    'p-x'\n  expected: a plugin id"),
        (["trust", "add-plugin", "p", "--owner", "ann", "--keys", "{keys}"], 1, "trust.policy", "ann"),
        (["token", "create", "b\u00f6se", "--role", "auditor"], 2, "usage.arguments", "found:    'b"),
        (["token", "create", "ci", "--role", "auditor", "--days", "0"], 2, "usage.arguments", "1 to 366"),
        (["token", "revoke", "nobody"], 2, "usage.arguments", "there is no token"),
        (["audit", "log", "--last", "-1"], 2, "usage.arguments", "-1"),
        (["serve", "--port", "70000"], 2, "usage.arguments", "0 to 65535"),
        (
            ["revoke", "sha256:" + "a" * 64, "--reason", "mistake", "--note", "\udcff"],
            2,
            "usage.arguments",
            "plain text",
        ),
    ],
)
def test_a_deployment_stays_as_it_was(
    refused: Refusal, founded: Path, tmp_path: Path, words: list[str], status: int, code: str, said: str
) -> None:
    other = tmp_path / "other" / "offline"
    if "{other}" in words:
        assert main(["init", str(other.parent), "--id", "other"]) == 0
    places = {"place": founded, "keys": founded.parent / "keys", "other": other}
    before = content(founded)
    assert said in refused(status, code, "--deployment", founded, *[word.format(**places) for word in words])
    assert content(founded) == before


def test_a_name_is_taken_once(refused: Refusal, founded: Path, tmp_path: Path) -> None:
    on = ("--deployment", founded)
    assert main([*map(str, on), "token", "create", "once", "--role", "auditor"]) == 0
    assert "Choose another name" in refused(2, "usage.exists", *on, "token", "create", "once", "--role", "auditor")
    assert main(["key", "new", "ann.pem"]) == 0
    ann = [*on, "trust", "add-principal", "ann", "--public-key", "ann.pem.pub", "--keys", founded.parent / "keys"]
    assert main([str(word) for word in ann]) == 0
    assert "Edit policy.toml" in refused(2, "usage.exists", *ann)


def test_a_plugin_for_whom_nobody_may_sign_is_warned_of(capsys: pytest.CaptureFixture[str], founded: Path) -> None:
    keys = str(founded.parent / "keys")
    assert main(["trust", "add-plugin", "orphan", "--keys", keys, "--deployment", str(founded)]) == 0
    assert "no builder and no owner" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "status", "code", "said"),
    [
        (lambda place: (place / "deployment.json").write_text("{"), 1, "format.syntax", "deployment.json"),
        (lambda place: (place / "server" / "loadlock.sqlite").unlink(), 2, "usage.deployment", "no database"),
        (lambda place: (place / "server" / "loadlock.sqlite").write_text("x" * 5000), 3, "io.failed", "database"),
        (lambda place: (place / "server" / "loadlock.sqlite").write_text(""), 2, "usage.configuration", "another"),
        (lambda place: (place / "online" / "head.pem").unlink(), 2, "usage.key", "head.pem"),
        (lambda place: (place / "online" / "head.pem").chmod(0o644), 2, "usage.key", "head.pem"),
        (lambda place: shutil.rmtree(place / "public"), 1, "trust.metadata", "Restore 'public' and 'server'"),
    ],
    ids=["record", "no database", "no sqlite", "empty database", "no key", "shared key", "no public tree"],
)
def test_a_damaged_deployment_neither_revokes_nor_serves(
    refused: Refusal, founded: Path, tmp_path: Path, damage: Callable[[Path], object], status: int, code: str, said: str
) -> None:
    place = tmp_path / "acme"
    shutil.copytree(founded, place)
    damage(place)
    before = content(place / "public")
    on = ("--deployment", place)
    assert said in refused(status, code, *on, "revoke", "sha256:" + "a" * 64, "--reason", "malicious")
    assert said in refused(status, code, *on, "serve", "--port", "0")
    assert before == content(place / "public")


def test_a_revocation_that_cannot_be_published_says_that_it_stands(
    refused: Refusal, founded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, revoke = tmp_path / "acme", ("revoke", "sha256:" + "b" * 64, "--reason", "malicious")
    shutil.copytree(founded, place)
    head = place / "public" / "lists" / "head.json"
    published = head.read_bytes()
    head.unlink()
    (head / "in the way").mkdir(parents=True)
    said = refused(3, "io.failed", "--deployment", place, *revoke)
    assert "The revocation is recorded" in said
    shutil.rmtree(head)
    head.write_bytes(published)
    assert main(["--deployment", str(place), *revoke]) == 0
    assert "was revoked already" in capsys.readouterr().out


def test_a_port_in_use(refused: Refusal, founded: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "in use" in refused(2, "usage.configuration", "--deployment", founded, "serve", "--port", str(port))


SERVE = """
import os, signal, sys
from pathlib import Path
from crl_server.service import Authority
from crl_server.operating.serving import serve

serve(Authority(Path(sys.argv[1])), "127.0.0.1", 0, lambda address: os.kill(os.getpid(), signal.Signals[sys.argv[2]]))
print("ended by itself")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_server_told_to_end_before_it_began_ends(founded: Path, name: str) -> None:
    command = [sys.executable, "-c", SERVE, str(founded), name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended by itself\n", "")
