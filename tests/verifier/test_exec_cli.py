"""``loadlock host exec``, typed: the program's status is the command's, and what was refused is told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import HostedDeployment, set_of

CODE = """
def pytest_report_header(config):
    return "greetings of the verified plugin"
"""


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[HostedDeployment]:
    with HostedDeployment(tmp_path) as deployment:
        yield deployment


@pytest.fixture
def wheel(hosted: HostedDeployment) -> Path:
    (hosted.directory / "loadlock.toml").write_text(
        f'plugins = ["{hosted.wheels}"]\nwatch = false\ngroups = ["pytest11"]\n'
    )
    return hosted.plugin({"sample_plugin/__init__.py": CODE}, entry_points={"pytest11": {"sample": "sample_plugin"}})


def typed(hosted: HostedDeployment, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "loadlock", "--deployment", str(hosted.directory), *words]
    return subprocess.run(argv, cwd=place, capture_output=True, text=True, timeout=60)


def test_the_host_runs_with_its_verified_plugin(hosted: HostedDeployment, wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "test_fails.py").write_text("def test_it(): assert 1 == 2\n")
    done = typed(hosted, tmp_path, "host", "exec", "pytest", "-q", "-v", "-p", "no:cacheprovider", "test_fails.py")
    assert done.returncode == 1, done.stderr
    assert "greetings of the verified plugin" in done.stdout
    assert "hypothesis" not in done.stdout  # which is installed here, and nobody has verified


def test_what_is_refused_is_told(hosted: HostedDeployment, wheel: Path, tmp_path: Path) -> None:
    set_of(wheel).unlink()
    done = typed(hosted, tmp_path, "--json", "host", "exec", "pytest", "--version")
    told = json.loads(done.stdout)  # the one object, and nothing that the program printed
    assert "\npytest " in f"\n{done.stderr}"
    assert (done.returncode, told["status"], told["loaded"]) == (0, 0, [])
    assert [refused["error"]["code"] for refused in told["refused"]] == ["set.missing"]


def test_what_children_print_does_not_disturb_the_one_object(
    hosted: HostedDeployment, wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / "test_prints.py").write_text("import os\ndef test_it(): os.system('echo from a child'); assert 0\n")
    words = ("host", "exec", "--json", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_prints.py")
    done = typed(hosted, tmp_path, *words)
    assert (done.returncode, json.loads(done.stdout)["status"], json.loads(done.stdout)["ok"]) == (1, 1, False)
    assert "from a child" in done.stderr


def test_options_after_the_program_are_the_programs(hosted: HostedDeployment, wheel: Path, tmp_path: Path) -> None:
    done = typed(hosted, tmp_path, "host", "exec", "pytest", "--json")
    assert done.returncode == 4  # pytest's own, for an option that it does not know
    assert "unrecognized arguments: --json" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["echoing"], []),
        (["echoing", "--", "-k", "x"], ["--", "-k", "x"]),
        (["echoing", "a", "--", "b", "--"], ["a", "--", "b", "--"]),
        (["--", "echoing", "--", "--json"], ["--", "--json"]),
        (["--settings", "SETTINGS", "echoing", "--settings", "--"], ["--settings", "--"]),
    ],
)
def test_a_program_is_given_every_word_after_its_name(
    hosted: HostedDeployment, wheel: Path, tmp_path: Path, words: list[str], given: list[str]
) -> None:
    (tmp_path / "echoing.py").write_text("import sys\ndef main(): print(sys.argv[1:])\n")
    (tmp_path / "echoing-1.0.dist-info").mkdir()
    (tmp_path / "echoing-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: echoing\nVersion: 1.0\n")
    points = tmp_path / "echoing-1.0.dist-info" / "entry_points.txt"
    points.write_text("[console_scripts]\nechoing = echoing:main\n")
    settings = str(hosted.directory / "loadlock.toml")
    done = typed(hosted, tmp_path, "host", "exec", *(settings if word == "SETTINGS" else word for word in words))
    assert (done.returncode, done.stdout) == (0, f"{given}\n"), done.stderr


@pytest.mark.parametrize("words", [[], ["--"]])
def test_without_a_program_there_is_nothing_to_run(
    hosted: HostedDeployment, wheel: Path, tmp_path: Path, words: list[str]
) -> None:
    done = typed(hosted, tmp_path, "--json", "host", "exec", *words)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, "usage.arguments")


def test_a_program_that_raises_ends_as_python_lets_it_end(
    hosted: HostedDeployment, wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / "raising.py").write_text("def main(): raise KeyError('its own')\n")
    (tmp_path / "raising-1.0.dist-info").mkdir()
    (tmp_path / "raising-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: raising\nVersion: 1.0\n")
    points = tmp_path / "raising-1.0.dist-info" / "entry_points.txt"
    points.write_text("[console_scripts]\nraising = raising:main\n")
    done = typed(hosted, tmp_path, "--json", "host", "exec", "raising")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (1, 1)
    assert "KeyError: 'its own'" in done.stderr


@pytest.mark.parametrize("program", ["a-program-that-nobody-installs", "../pytest"])
def test_an_unknown_program_is_wrong_usage(hosted: HostedDeployment, wheel: Path, tmp_path: Path, program: str) -> None:
    done = typed(hosted, tmp_path, "--json", "host", "exec", program)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, "usage.arguments")
