"""The container file as it is shipped. No engine builds it here: it is read, linted, and its steps are run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from loadlock.cli import _find, _parser_of
from tests.project.test_locks import parse
from tests.project.tree import ROOT, pyproject
from tests.waiting import free_port

FILE = ROOT / "deploy" / "container" / "Containerfile"
EXTRAS = ("server", "postgresql", "s3", "otel")


def instructions() -> list[tuple[str, str]]:
    """Every instruction and its arguments."""
    text = re.sub(r"^#.*\n", "", FILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    pairs = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return [(name, " ".join(arguments.split())) for name, arguments in pairs]


def of(name: str) -> list[str]:
    return [arguments for found, arguments in instructions() if found == name]


def test_the_linter_finds_nothing() -> None:
    done = subprocess.run([Path(sys.executable).parent / "hadolint", FILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_base_is_named_by_whoever_builds() -> None:
    assert of("ARG") == ["BASE"]  # no default: a build without a base fails
    assert of("FROM") == ["${BASE} AS build", "${BASE}"]
    assert "--build-arg BASE=python:3.13-slim-bookworm@sha256:" in FILE.read_text("utf-8")


def test_it_runs_as_nobody_in_particular_and_needs_to_write_nothing() -> None:
    names = [name for name, _ in instructions()]
    assert of("USER") == ["10001:10001"]
    assert "RUN" not in names[names.index("USER") :]
    assert "--read-only" in FILE.read_text("utf-8")
    assert "ADD" not in names
    assert "VOLUME" not in names


def test_nothing_but_the_lock_and_the_wheel_goes_in() -> None:
    assert of("COPY") == [
        "requirements/server.lock /build/",
        "dist/*.whl /build/",
        "--from=build /opt/loadlock /opt/loadlock",
    ]
    ignored = (FILE.parent / "Containerfile.ignore").read_text("utf-8").splitlines()
    assert [line for line in ignored if not line.startswith("#")] == [
        "*", "!requirements", "requirements/*", "!requirements/server.lock", "!dist", "dist/*", "!dist/*.whl",
    ]  # fmt: skip


def test_what_it_runs_is_a_command_of_ours() -> None:
    assert [json.loads(words) for words in of("ENTRYPOINT")] == [["/opt/loadlock/bin/loadlock"]]
    (words,) = (json.loads(words) for words in of("CMD"))
    command = _find(words)
    assert command is not None
    arguments = _parser_of(command).parse_args(words[1:])
    assert (arguments.host, str(arguments.port)) == ("0.0.0.0", of("EXPOSE")[0])
    assert of("STOPSIGNAL") == ["SIGTERM"]


def test_its_lock_has_all_that_the_server_needs_in_the_versions_that_are_tested() -> None:
    locked = dict(parse((ROOT / "requirements" / "server.lock").read_text("utf-8")))
    tested = dict(parse((ROOT / "requirements" / "dev.lock").read_text("utf-8")))
    assert {name: version for name, version in locked.items() if tested.get(name) != version} == {}
    project = pyproject()["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    assert {canonicalize_name(Requirement(line).name) for line in lines} <= set(locked)
    assert not {"pytest", "ruff", "moto", "playwright"} & set(locked)


def test_the_script_that_builds_the_image_builds_this_file_and_writes_over_nothing(tmp_path: Path) -> None:
    """All that can be told of it in the time that a test has; what it does takes minutes."""
    script = FILE.parent / "try.sh"
    text = script.read_text("utf-8")
    assert '--file "$here/Containerfile" --ignorefile "$here/Containerfile.ignore"' in text
    assert f"--user {of('USER')[0]}" in text
    assert "--format docker" in text  # the other one drops the health check
    assert of("HEALTHCHECK")
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    refused = subprocess.run([script, tmp_path], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (2, f"there is something at {tmp_path} already\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_input
def test_its_steps_make_a_server_that_answers(tmp_path: Path) -> None:
    build, target = tmp_path / "build", tmp_path / "loadlock"
    build.mkdir()
    (build / "server.lock").write_bytes((ROOT / "requirements" / "server.lock").read_bytes())
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(build)], cwd=ROOT, check=True)
    (steps,) = of("RUN")
    steps = steps.replace("/opt/loadlock", str(target)).replace("/build/", f"{build}/")
    # What was fetched for other tests need not be fetched again.
    steps = steps.replace("python -m venv", f"{sys.executable} -m venv").replace("--no-cache-dir ", "")
    subprocess.run(["sh", "-euc", steps], check=True, capture_output=True)
    program = target / "bin" / "loadlock"
    subprocess.run([program, "init", tmp_path / "acme", "--profile", "demo"], check=True, capture_output=True)
    port = free_port()
    (words,) = (json.loads(words) for words in of("CMD"))
    words[words.index("8600")] = str(port)
    with subprocess.Popen(
        [program, *words, "--deployment", tmp_path / "acme"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert "serving deployment" in server.stdout.readline()
        for path in ("healthz", "readyz", "lists/head.json"):
            assert urllib3.request("GET", f"http://127.0.0.1:{port}/{path}").status == 200
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=30)
    assert server.returncode == 0
    assert all(json.loads(line)["level"] == "info" for line in errors.splitlines())
