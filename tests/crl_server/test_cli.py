"""The commands as people call them: results, refusals, exit statuses; and the server as a process of its own.

On one engine: what commands do is done by the authority, which the tests of each subject hold against both; how a
deployment is founded and served on PostgreSQL by commands, test_databases.py and test_team_postgresql.py hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from crl_server.cli import COMMANDS
from crl_server.operating.serving import utc_now
from crl_server.processes.chores import Maintenance
from crl_server.service import Authority
from crl_server.trust.signing import SigningKey
from loadlock.cli import invoke, main
from tests.crl_server.deployments import DAY, digest, made
from tests.crl_server.live import Live
from tests.project.tree import ROOT
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.progress import Lines, Progress

# The commands read the machine's clock, so these deployments are made now.
NOW = utc_now().replace(microsecond=0)


class Recorder:
    """An output that keeps what it was told."""

    json = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress = Progress(Lines(self.say))
        self.value: dict[str, Any] = {}

    def say(self, text: str = "") -> None:
        self.lines.append(text)

    def result(self, value: dict[str, Any]) -> None:
        self.value = json.loads(json.dumps(value))


def run(*words: object) -> dict[str, Any]:
    """The result of ``loadlock WORDS…``; there is always something said to people too."""
    output = Recorder()
    invoke([str(word) for word in words], output)
    assert output.lines
    assert output.value.pop("ok") is True
    return output.value


def refused(*words: object) -> LoadlockError:
    with pytest.raises(LoadlockError) as caught:
        run(*words)
    return caught.value


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A demo deployment that the commands find by themselves."""
    made(tmp_path / "acme", now=NOW).close()
    monkeypatch.setenv("LOADLOCK_DEPLOYMENT", str(tmp_path / "acme"))
    return tmp_path / "acme"


def public_key(path: Path) -> Path:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_der_public_key(SigningKey.generate("ecdsa-p256").public.spki)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.write_bytes(pem)
    return path


# -- init --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--profile", "production"),
        ("--id", "Not A Name"),
        ("--id", "a", "--server", "ftp://host.example"),
        ("--id", "a", "--server", "https://user@host.example"),
        ("--id", "a", "--server", "https://host.example/?query"),
        ("--id", "a", "--host-api", "1.0 beta"),
        ("--id", "a", "--list-lifetime", "a day"),
        ("--id", "a", "--list-lifetime", "PT1S"),
        ("--id", "a", "--list-lifetime", "P31D"),
        ("--id", "a", "--profile", "development"),
    ],
)
def test_init_refuses_what_makes_no_sense_and_makes_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    error = refused("init", tmp_path / "new", *words)
    assert (type(error), error.code) == (UsageError, "usage.arguments")
    assert list(tmp_path.iterdir()) == []


def test_init_leaves_alone_what_is_there(demo: Path) -> None:
    before = (demo / "policy.toml").read_bytes()
    assert refused("init", demo, "--id", "other").code == "usage.exists"
    assert (demo / "policy.toml").read_bytes() == before


def test_init_makes_a_deployment_and_names_its_root(tmp_path: Path) -> None:
    result = run(
        "init", tmp_path / "new", "--id", "acme", "--server", "https://loadlock.example", "--list-lifetime", "PT6H"
    )
    root = (tmp_path / "new" / "public" / "trust" / "metadata" / "1.root.json").read_bytes()
    assert result["root"] == f"sha256:{hashlib.sha256(root).hexdigest()}"
    assert (result["deployment"], result["profile"]) == ("acme", "production")
    authority = Authority(tmp_path / "new")
    head = authority.standing(utc_now()).revocations.head
    assert (head.expires.instant - head.issued.instant).total_seconds() == 6 * 3600
    authority.close()


def test_init_falls_back_on_the_usual_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "--profile", "demo")["deployment"] == "demo"
    assert (tmp_path / ".loadlock" / "deployment.json").is_file()


# -- without a deployment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("serve",),
        ("token", "ls"),
        ("token", "create", "ci", "--role", "publisher"),
        ("token", "revoke", "ci"),
        ("trust", "policy"),
        ("trust", "add-plugin", "a"),
        ("revoke", digest(1), "--reason", "mistake"),
        ("audit", "log"),
    ],
)
def test_without_a_deployment_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADLOCK_DEPLOYMENT", raising=False)
    assert refused(*words).code == "usage.deployment"
    assert refused(*words, "--deployment", tmp_path).code == "usage.deployment"
    assert list(tmp_path.iterdir()) == []


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("create", "CI", "--role", "publisher"), "usage.arguments"),
        (("create", "ci"), "usage.arguments"),
        (("create", "ci", "--role", "king"), "usage.arguments"),
        (("create", "ci", "--role", "publisher", "--days", "0"), "usage.arguments"),
        (("create", "ci", "--role", "publisher", "--days", "99999999999"), "usage.arguments"),
        (("revoke", "nobody"), "usage.arguments"),
    ],
)
@pytest.mark.usefixtures("demo")
def test_token_commands_refuse_what_makes_no_sense(words: tuple[str, ...], code: str) -> None:
    assert refused("token", *words).code == code
    assert invoke(["token", "ls"], output := Recorder()) == 0
    assert output.value == {"ok": True, "tokens": []}


@pytest.mark.usefixtures("demo")
def test_a_token_is_made_listed_and_taken_back() -> None:
    secret = run("token", "create", "ci", "--role", "publisher", "--role", "revoker")["token"]
    assert secret.startswith("loadlock_")
    listed = run("token", "ls")["tokens"]
    assert [(row["name"], row["roles"], row["valid"]) for row in listed] == [("ci", ["publisher", "revoker"], True)]
    assert secret not in json.dumps(listed)
    run("token", "revoke", "ci")
    assert [row["valid"] for row in run("token", "ls")["tokens"]] == [False]
    assert refused("token", "create", "ci", "--role", "publisher").code == "usage.exists"


# -- trust -------------------------------------------------------------------------------------------------------------


def test_trust_commands_refuse_what_makes_no_sense(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("profile = ")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    (tmp_path / "bad.pem").write_text("no key")
    before = (demo / "policy.toml").read_bytes()
    for words, code in (
        (("policy", "--set-from", tmp_path / "bad.toml"), "format.syntax"),
        (("policy", "--set-from", tmp_path / "latin.toml"), "format.encoding"),
        (("policy", "--set-from", tmp_path / "missing.toml"), "io.failed"),
        (("policy", "--keys", tmp_path), "io.failed"),
        (("policy", "--show", "--set-from", tmp_path / "bad.toml"), "usage.arguments"),
        (("add-plugin", "Not-An-Id"), "usage.arguments"),
        (("add-plugin", "a", "--builder", "nobody"), "trust.policy"),
        (("add-plugin", "a", "--builder", "No Name"), "usage.arguments"),
        (("add-plugin", "a", "--min-version", "one"), "usage.arguments"),
        (("add-plugin", "a", "--certifier", "owner"), "trust.policy"),
        (("add-principal", "ann", "--public-key", tmp_path / "bad.pem"), "usage.key"),
        (("add-principal", "ann", "--public-key", tmp_path / "missing.pem"), "io.failed"),
        (("add-principal", "builder", "--public-key", public_key(tmp_path / "k.pem")), "usage.exists"),
    ):
        assert refused("trust", *words).code == code, words
    assert (demo / "policy.toml").read_bytes() == before
    assert run("trust", "policy", "--show")["policy"]["version"] == 1


def test_the_policy_grows_by_commands(demo: Path, tmp_path: Path) -> None:
    run("trust", "add-principal", "ann", "--public-key", public_key(tmp_path / "ann.pem"), "--max-tier", "vetted")
    result = run(
        "trust", "add-plugin", "csv_exporter", "--builder", "builder", "--owner", "owner", "--certifier", "ann",
        "--certifier", "certifier", "--min-version", "1.2",
    )  # fmt: skip
    assert (result["version"], result["enrolment_signed"]) == (3, True)
    shown = run("trust", "policy", "--show")
    assert shown["root"] == result["root"]
    assert shown["policy"]["certifiers"]["ann"] == {"max_tier": "vetted"}
    plugin = shown["policy"]["plugins"]["csv_exporter"]
    assert (plugin["certifiers"], plugin["min_version"]) == (["ann", "certifier"], "1.2")
    changed = tmp_path / "changed.toml"
    changed.write_text((demo / "policy.toml").read_text().replace('"1.2"', '"1.3"'))
    assert run("trust", "policy", "--set-from", changed)["version"] == 4
    assert tomllib.loads((demo / "policy.toml").read_text())["plugins"]["csv_exporter"]["min_version"] == "1.3"


# -- revoke ------------------------------------------------------------------------------------------------------------


def test_revoke_refuses_what_makes_no_sense(demo: Path, tmp_path: Path) -> None:
    for words in (
        (digest(1),),
        ("--reason", "mistake"),
        (digest(1), "--reason", "because"),
        ("sha256:00", "--reason", "mistake"),
        (tmp_path / "missing.whl", "--reason", "mistake"),
        (tmp_path, "--reason", "mistake"),
        (digest(1), "--reason", "mistake", "--note", "\x1b[2J"),
    ):
        assert refused("revoke", *words).code == "usage.arguments", words
    authority = Authority(demo)
    assert authority.standing(NOW).revocations.head.seq == 0
    authority.close()


def test_a_wheel_or_a_digest_is_revoked(demo: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"wheel")
    named = f"sha256:{hashlib.sha256(b'wheel').hexdigest()}"
    result = run("revoke", wheel, digest(1), digest(1).hex, "--reason", "malicious", "--note", "it called home")
    assert result == {"seq": 1, "revoked": [named, digest(1)]}
    assert run("revoke", named, "--reason", "policy-breach") == {"seq": 1, "revoked": [], "already": [named]}
    authority = Authority(demo)
    assert authority.standing(utc_now()).revocations.lists(digest(1))
    authority.close()


def test_revoking_through_the_server(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(demo)
    reader, revoker = (run("token", "create", role, "--role", role)["token"] for role in ("auditor", "revoker"))
    token_file = tmp_path / "token"
    token_file.write_text(revoker + "\n")
    monkeypatch.delenv("LOADLOCK_DEPLOYMENT")  # nothing but the server is at hand
    monkeypatch.delenv("LOADLOCK_TOKEN", raising=False)
    words = ("revoke", digest(1), "--reason", "malicious")
    with Live(authority) as live:
        live.now = utc_now()
        assert refused(*words, "--server", live.address).code == "usage.configuration"
        monkeypatch.setenv("LOADLOCK_TOKEN", reader)
        denied = refused(*words, "--server", live.address)
        assert (type(denied), denied.code) == (Refused, "auth.role")
        assert refused(*words, "--server", "http://host.example").code == "usage.configuration"
        assert refused(*words, "--server", "file:///etc").code == "usage.configuration"
        done = run(*words, "--server", live.address + "/", "--token-file", token_file, "--idempotency-key", "k")
        assert done == run(*words, "--server", live.address, "--token-file", token_file, "--idempotency-key", "k")
        live.now = utc_now() - 9 * DAY
        later = ("revoke", digest(2), "--reason", "malicious", "--server", live.address, "--token-file", token_file)
        late = refused(*later)
        assert (type(late), late.code) == (Unreachable, "clock.behind")
    assert authority.standing(utc_now()).revocations.lists(digest(1))
    gone = refused(*words, "--server", live.address)
    assert (type(gone), gone.code) == (Unreachable, "unreachable.server")
    authority.close()


# -- audit -------------------------------------------------------------------------------------------------------------


def test_the_audit_log_is_verified_before_it_is_shown(demo: Path) -> None:
    run("revoke", digest(1), "--reason", "malicious")
    result = run("audit", "log", "--last", "2")
    assert (result["verified"], result["state"]["count"]) == (True, 5)
    assert [entry["action"] for entry in result["entries"]] == ["artifact.revoke", "list.publish"]
    assert run("audit", "log", "--last", "0")["entries"] == []
    assert len(run("audit", "log")["entries"]) == 5
    assert refused("audit", "log", "--last", "-1").code == "usage.arguments"
    authority = Authority(demo)
    with authority.store.write() as ledger:
        ledger.session.connection().exec_driver_sql('DELETE FROM audit_line WHERE "index" = 4')
        ledger.session.connection().exec_driver_sql('DELETE FROM audit_line WHERE "index" = 3')
    authority.close()
    assert refused("audit", "log").code == "audit.chain"


# -- exit statuses -----------------------------------------------------------------------------------------------------


def test_exit_statuses(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "tokens": []}
    assert main(["trust", "add-plugin", "a", "--builder", "nobody"]) == 1
    assert main(["init", str(demo)]) == 2
    assert (
        main(
            [
                "revoke",
                digest(1),
                "--reason",
                "mistake",
                "--server",
                "http://127.0.0.1:1",
                "--token-file",
                str(demo / "policy.toml"),
            ]
        )
        == 2
    )
    (tmp_path / "token").write_text("loadlock_x")
    words = ["revoke", digest(1), "--reason", "mistake", "--server", "http://127.0.0.1:1"]
    assert main([*words, "--token-file", str(tmp_path / "token")]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_every_command_explains_itself() -> None:
    assert len({command.name for command in COMMANDS}) == len(COMMANDS) > 0  # the README lists each
    assert all(command.help and not command.help.endswith(".") for command in COMMANDS)


# -- the process -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(directory: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "loadlock", "serve", "--port", "0", "--json", "--deployment", str(directory), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Exit status, what was said on the standard output, and what on the standard error."""
    output, errors = process.communicate(timeout=30)
    return process.returncode, json.loads(output or errors or "{}"), errors


def test_a_production_server_does_not_start_beside_its_offline_keys(tmp_path: Path) -> None:
    made(tmp_path / "acme", "production", NOW).close()
    with serving(tmp_path / "acme") as process:
        status, said, _ = ended(process)
    assert (status, said["error"]["code"]) == (1, "server.offline-key")


def test_a_server_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    made(tmp_path / "acme", "production", NOW - 3 * DAY).close()  # down for days: the list has expired meanwhile
    (tmp_path / "acme" / "offline").rename(tmp_path / "medium")
    secret = run("token", "create", "sec", "--role", "revoker", "--deployment", tmp_path / "acme")["token"]
    for end in (signal.SIGTERM, signal.SIGINT):
        with serving(tmp_path / "acme") as process:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            with urllib3.PoolManager(retries=False, timeout=20) as pool:
                ready = json.loads(pool.request("GET", f"{address}/readyz").data)
                assert ready["status"] == "ready"
                (tmp_path / "token").write_text(secret)
                words = ("revoke", digest(end), "--reason", "mistake", "--server", address)
                assert run(*words, "--token-file", tmp_path / "token")["revoked"] == [digest(end)]
            process.send_signal(end)
            status, _, errors = ended(process)
        assert (status, errors) == (0, "")
    authority = Authority(tmp_path / "acme")
    assert all(authority.standing(utc_now()).revocations.lists(digest(s)) for s in (signal.SIGTERM, signal.SIGINT))
    authority.close()


def test_a_port_in_use_is_refused_in_words(demo: Path) -> None:
    with Live(Authority(demo)) as live:
        error = refused("serve", "--port", live.address.rpartition(":")[2])
        assert (type(error), error.code) == (UsageError, "usage.configuration")
        live.authority.close()
    assert refused("serve", "--port", "70000").code == "usage.arguments"
    assert refused("serve", "--host", "not an address", "--port", "0").code == "usage.configuration"


def test_maintenance_goes_on_after_a_failure(demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(demo)
    moments = iter([NOW - 9 * DAY, NOW + DAY, *[NOW + DAY] * 10_000])  # the clock is wrong first, and then mended
    before = authority.layout.head.read_bytes()
    with Maintenance(authority, lambda: next(moments), interval=0.01):
        for _ in range(1000):
            if authority.layout.head.read_bytes() != before:
                break
            time.sleep(0.01)
    assert authority.layout.head.read_bytes() != before
    assert "clock.behind" in caplog.text
    authority.close()
