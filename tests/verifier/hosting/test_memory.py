"""What people see of code that was loaded from memory: tracebacks, sources, coverage; also in children of any kind."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import ROOT, HostedDeployment, in_fresh_process

SOURCE = """\
def hello(name):
    if not name:
        return nobody()
    return f"hello {name}"


def nobody():
    raise ValueError("nobody to greet")
"""
FILES = {"sample_plugin/__init__.py": SOURCE}
RUN = """
import sys
from verifier import Gate
print(Gate.open(sys.argv[1]).load(sys.argv[2]).entry_point("exporters", "hello")("Ada"))
"""


def covered(hosted: HostedDeployment, place: Path, settings: str = "") -> dict[str, Any]:
    """The files that coverage measured while a host called the plugin, each with its executed and missing lines."""
    wheel = hosted.plugin(FILES)
    (place / "run.py").write_text(RUN)
    (place / ".coveragerc").write_text(
        f"[run]\nplugins = loadlock.testing.coverage\n[loadlock.testing.coverage]\n{settings}"
    )
    for words in (["run", "run.py", str(hosted.directory), str(wheel)], ["json", "--quiet"]):
        argv = [sys.executable, "-W", "error", "-m", "coverage", *words]
        done = subprocess.run(argv, cwd=place, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    files: dict[str, Any] = json.loads((place / "coverage.json").read_text())["files"]
    return {name: found for name, found in files.items() if "sample_plugin" in name}


def test_coverage_measures_a_copy(hosted: HostedDeployment, tmp_path: Path) -> None:
    ((name, found),) = covered(hosted, tmp_path).items()
    assert name.startswith(".coverage-plugins/")
    assert (found["executed_lines"], found["missing_lines"]) == ([1, 2, 4, 7], [3, 8])
    assert (tmp_path / name).read_text() == SOURCE


@pytest.mark.parametrize(("there", "credited"), [(SOURCE, True), (SOURCE + "\n", False)])
def test_coverage_is_credited_to_a_checkout_that_says_the_same(
    hosted: HostedDeployment, tmp_path: Path, there: str, credited: bool
) -> None:
    package = tmp_path / "src" / "sample_plugin"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(there)
    ((name, found),) = covered(hosted, tmp_path, "checkouts = lib, src\n").items()
    assert (name == "src/sample_plugin/__init__.py") is credited
    assert found["missing_lines"] == [3, 8]


def test_tracebacks_and_sources(hosted: HostedDeployment) -> None:
    plugin = hosted.gate().load(hosted.plugin(FILES))
    module = plugin.module("sample_plugin")
    assert inspect.getsource(module) == SOURCE
    assert inspect.getsource(module.nobody).startswith("def nobody():")
    assert inspect.getsourcelines(module.nobody)[1] == 7
    assert inspect.getmodule(module.nobody) is module
    with pytest.raises(ValueError, match="nobody") as caught:
        plugin.entry_point("exporters", "hello")("")
    shown = "".join(traceback.format_exception(caught.value))
    assert "return nobody()" in shown
    assert 'raise ValueError("nobody to greet")' in shown


WORKER = """
import multiprocessing, sys
from verifier import Gate

def greet(host, wheel, name):
    with Gate.open(host) as gate:
        return gate.load(wheel).entry_point("exporters", "hello")(name)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[3])
    with context.Pool(2) as pool:
        print(pool.starmap(greet, [(sys.argv[1], sys.argv[2], name) for name in ("Ada", "Grace")]))
"""
INHERITED = """
import multiprocessing, sys
from verifier import Gate

gate = Gate.open(sys.argv[1])
plugin = gate.load(sys.argv[2])

def greet(name):
    return plugin.entry_point("exporters", "hello")(name)

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(greet, ["Ada", "Grace"]))
"""
CARRIED = """
import multiprocessing, sys
from verifier import Gate

if __name__ == "__main__":
    hello = Gate.open(sys.argv[1]).load(sys.argv[2]).entry_point("exporters", "hello")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            pool.map(hello, ["Ada"])
        except TypeError as error:
            print(error)
"""


def worker(hosted: HostedDeployment, place: Path, script: str, *arguments: str) -> str:
    """Run a script that starts workers; as a file, which they import again."""
    wheel = hosted.plugin(FILES)
    file = place / "workers.py"
    file.write_text(script)
    argv = [sys.executable, "-W", "error", str(file), str(hosted.directory), str(wheel), *arguments]
    done = subprocess.run(argv, cwd=place, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_worker_opens_a_gate_of_its_own(hosted: HostedDeployment, tmp_path: Path, method: str) -> None:
    assert worker(hosted, tmp_path, WORKER, method) == "['hello Ada', 'hello Grace']"


def test_a_forked_worker_has_what_was_loaded(hosted: HostedDeployment, tmp_path: Path) -> None:
    assert worker(hosted, tmp_path, INHERITED) == "['hello Ada', 'hello Grace']"


def test_a_handle_is_not_carried_to_a_worker_and_says_so(hosted: HostedDeployment, tmp_path: Path) -> None:
    said = worker(hosted, tmp_path, CARRIED)
    assert "can be neither copied nor pickled: load the plugin through a gate of that process" in said


MANY = """
import sys, threading
from pathlib import Path
from verifier import Gate

gate = Gate.open(sys.argv[1])
wheels = sorted(Path(sys.argv[2]).glob("*.whl"))
told = []
def use(wheel):
    told.append(gate.load(wheel).entry_point("exporters", "hello")("Ada"))
threads = [threading.Thread(target=use, args=[wheel]) for wheel in wheels * 4]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(told), sorted({*told}), len(gate.plugins))
"""


def test_several_plugins_load_in_parallel(hosted: HostedDeployment) -> None:
    hosted.plugin(FILES)
    hosted.plugin(
        {"other_plugin/__init__.py": SOURCE.replace("hello {", "hi {")}, name="other-plugin",
        entry_points={"exporters": {"hello": "other_plugin:hello"}},
    )  # fmt: skip
    assert in_fresh_process(MANY, hosted.directory, hosted.wheels) == "8 ['hello Ada', 'hi Ada'] 2"


LAZY = """
import sys
from verifier import Gate
gate = Gate.open(sys.argv[1])
plugin = gate.load(sys.argv[2])
before = "sample_plugin" in sys.modules
point = plugin.entry_point("exporters", "hello")
named = "sample_plugin" in sys.modules
point("Ada")
print(before, named, "sample_plugin" in sys.modules)
"""


def test_code_runs_when_an_entry_point_is_first_used(hosted: HostedDeployment) -> None:
    assert in_fresh_process(LAZY, hosted.directory, hosted.plugin(FILES)) == "False False True"
