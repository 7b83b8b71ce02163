"""The source's own tests, run against the wheel.

They run in a clean environment, with the wheel's own modules first on the path that they begin with. pytest puts
directories of the tests before them; so it is looked at, when they are through, which modules they met.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from attestor.checking.ground import Found, Ground, ended, environ_of, not_run, read_json, run
from attestor.checking.remarks import MAX_REMARKS, Remark
from verifier.formats.findings import Check, CheckName

#: Loaded by pytest beside the project's own plugins; hooks of this name belong to its documented interface.
_REPORT = """
import json, os, pytest, sys
count = {"version": pytest.__version__, "passed": 0, "failed": 0, "where": []}
def failed(report):
    count["failed"] += 1
    path, line, _ = report.location
    count["where"].append([str(path), None if line is None else line + 1, report.nodeid])
def pytest_runtest_logreport(report):
    count["passed"] += report.when == "call" and report.passed
    if report.failed:
        failed(report)
def pytest_collectreport(report):
    if report.failed:
        failed(report)
def pytest_sessionfinish(session):
    tops = set(json.loads(os.environ["LOADLOCK_TOP_LEVELS"]))
    count["met"] = {
        name: str(module.__file__) for name, module in list(sys.modules.items())
        if name.partition(".")[0] in tops and getattr(module, "__file__", None)
    }
    with open(os.environ["LOADLOCK_TEST_REPORT"], "w") as stream:
        json.dump(count, stream)
"""


#: Parts of names of modules that are the tests' own, wherever they lie; a wheel need not hold them.
_OF_TESTS = re.compile(r"tests?|testing|conftest|test_.*|.*_tests?")
_MEET_THE_WHEEL = (
    "What is released was not tested. Keep the package in src/, or run the tests with --import-mode=importlib "
    "('addopts' of pytest), or put into the wheel what is missing there."
)


def run_tests(ground: Ground) -> Found:
    """The tests of the source."""
    return _pytest("tests", ground, [], "no test ran")


def run_egress_tests(ground: Ground) -> Found:
    """Those of the tests that show where the plugin connects to."""
    inside = ground.source / ground.egress
    if inside.exists() and inside.resolve().is_relative_to(ground.source.resolve()):
        return _pytest("egress-tests", ground, [ground.egress], f"no test in {ground.egress!a} ran")
    return _pytest("egress-tests", ground, ["-m", ground.egress], f"no test that is marked {ground.egress!a} ran")


def _pytest(name: CheckName, ground: Ground, arguments: Sequence[str], nothing: str) -> Found:
    place = ground.scratch / name
    place.mkdir()
    (place / "loadlock_test_report.py").write_text(_REPORT)
    environ = environ_of(place, ground) | {
        "PYTHONPATH": os.pathsep.join(map(str, (ground.wheel, place))),
        "LOADLOCK_TEST_REPORT": str(place / "report.json"),
        "LOADLOCK_TOP_LEVELS": json.dumps(sorted({path.name.partition(".")[0] for path in ground.wheel.iterdir()})),
    }
    tree = shutil.copytree(ground.source, place / "source", symlinks=True)  # tests leave things behind
    options = ["-q", "-p", "loadlock_test_report", "-p", "no:cacheprovider"]
    done = run([ground.python, "-P", "-m", "pytest", *options, *arguments], tree, environ)
    if isinstance(done, str):
        return not_run(name, "pytest", "", done)
    report = read_json(place / "report.json")
    if report is None:
        missing = b"No module named pytest" in done.stderr
        reason = "pytest is not installed" if missing else ended(done, "pytest")
        return not_run(name, "pytest", "", reason, done.tail())
    release, passed, failed = str(report["version"]), int(report["passed"]), int(report["failed"])
    others = _not_of_the_wheel(ground.wheel, report["met"])
    if passed and not failed and others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        reason = f"the tests met modules that are not the wheel's: {', '.join(others[:3])}{more}"
        return not_run(name, "pytest", release, reason, _MEET_THE_WHEEL)
    if done.status == 0 and passed and not failed:
        return Found(Check(name=name, result="passed", tool="pytest", version=release, findings=0))
    if done.status in (0, 5) and not failed:
        return not_run(name, "pytest", release, nothing)
    if not failed:
        return not_run(name, "pytest", release, ended(done, "pytest"), done.tail())
    reason = f"{failed} failed, {passed} passed"
    check = Check(name=name, result="failed", tool="pytest", version=release, findings=failed, reason=reason)
    where = [Remark(name, f"{node} failed", path=path, line=line) for path, line, node in report["where"][:MAX_REMARKS]]
    return Found(check, tuple(done.tail().splitlines()), tuple(where))


def _not_of_the_wheel(wheel: Path, met: Mapping[str, str]) -> list[str]:
    """The modules below the wheel's names that tests met with other content than the wheel's, or that it has not.

    Args:
        wheel: where its content lies.
        met: modules that the tests imported, name to file.
    """
    here = {_module_of(path.relative_to(wheel)): path for path in sorted(wheel.rglob("*")) if path.is_file()}
    packages = {name.rpartition(".")[0] for name in here}
    return [
        name for name, file in sorted(met.items())
        if not _same(Path(file), here.get(name)) and (name in here or name.rpartition(".")[0] in packages)
        and not any(_OF_TESTS.fullmatch(part) for part in name.split("."))
    ]  # fmt: skip


def _module_of(path: Path) -> str:
    """The dotted name of the module that a file of a wheel would be."""
    parts = [*path.parts[:-1], path.name.partition(".")[0]]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _same(met: Path, ours: Path | None) -> bool:
    try:
        return ours is not None and (met == ours or met.read_bytes() == ours.read_bytes())
    except OSError:
        return False
