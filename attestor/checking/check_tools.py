"""The single checks of a release, each by a tool of its trade. None raises for what it finds: it is all reported.

Tests run in a clean environment, with the wheel's own modules first on the path that they begin with; where pytest puts
others before them is told in docs/spec/test-result.md. Tools that look at code look at the wheel, since that is what is
released; the scan for secrets looks at the source, where they would be committed.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgspec

from attestor.building import processes
from attestor.building.apart import with_network
from attestor.building.versions import UNKNOWN, version_of
from attestor.checking.remarks import MAX_REMARKS, Remark
from attestor.describing.licences import Licences
from verifier.formats.findings import Check, CheckName
from verifier.formats.strict_json import quoted

#: How long one check may take, in seconds.
CHECK_SECONDS = 1800.0
#: How many findings a person gets to see of one check.
SHOWN = 20
_SCANNER = "detect-secrets"
#: What the scanner finds by likeness alone: too much, in files that are full of digests.
_GUESSES = frozenset({"Base64 High Entropy String", "Hex High Entropy String", "Secret Keyword"})
#: Loaded by pytest beside the project's own plugins; hooks of this name belong to its documented interface.
_REPORT = """
import json, os, pytest
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
    with open(os.environ["LOADLOCK_TEST_REPORT"], "w") as stream:
        json.dump(count, stream)
"""


@dataclass(frozen=True)
class Ground:
    """What is checked, and where.

    Args:
        source: the source's tree, exported.
        wheel: the wheel's content, unpacked.
        scratch: an empty directory for whatever the tools leave.
        python: the interpreter that runs the tests.
        egress: the marker of the egress tests, or where they lie in the source.
        licences: what is known of licences.
        unseen: files of the source that were not exported, so that nobody can look at them.
    """

    source: Path
    wheel: Path
    scratch: Path
    python: str
    egress: str
    licences: Licences
    unseen: Sequence[str] = ()


@dataclass(frozen=True)
class Found:
    """The outcome of a check, what a person should see of it, and what is told to CI systems."""

    check: Check
    shown: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


def run_tests(ground: Ground) -> Found:
    """The tests of the source."""
    return _pytest("tests", ground, [], "no test ran")


def run_egress_tests(ground: Ground) -> Found:
    """Those of the tests that show where the plugin connects to."""
    inside = ground.source / ground.egress
    if inside.exists() and inside.resolve().is_relative_to(ground.source.resolve()):
        return _pytest("egress-tests", ground, [ground.egress], f"no test in {ground.egress!a} ran")
    return _pytest("egress-tests", ground, ["-m", ground.egress], f"no test that is marked {ground.egress!a} ran")


def scan_secrets(ground: Ground) -> Found:
    """What looks like a secret in the source; nothing is sent anywhere to see whether it works. A file that the commit
    keeps out of every export by attributes is a finding, since nobody has looked into it.
    """
    release = version_of(_SCANNER)
    if release == UNKNOWN:
        return _not_run("secrets", _SCANNER, "", f"{_SCANNER} is not installed")
    unseen = [
        Remark("secrets", f"{name} is kept out of the export by attributes, and was not scanned", path=name)
        for name in ground.unseen
    ]
    copy, renamed = _readable(ground)

    def read(report: Any) -> list[Remark]:
        return unseen + [
            Remark("secrets", str(entry["type"]), path=renamed.get(name, str(name)), line=int(entry["line_number"]))
            for name, entries in sorted(report["results"].items()) for entry in entries
            if name not in renamed or entry["type"] not in _GUESSES
        ]  # fmt: skip

    argv = [sys.executable, "-P", "-m", "detect_secrets", "scan", "--all-files", "--no-verify"]
    tool = _Tool("secrets", _SCANNER, ground, copy, read)
    return tool.found([*argv, "."], [*argv, "--only-allowlisted", "."])


def _readable(ground: Ground) -> tuple[Path, dict[str, str]]:
    """A copy of the source in which the scanner reads every text, and what is called otherwise there, by its path.

    The scanner passes in silence over what it cannot decode, and over files of certain names: lock files, pictures,
    style sheets. Texts are given to it in UTF-8, and those files under a name that tells it nothing.
    """
    from detect_secrets.filters.heuristic import is_lock_file, is_non_text_file, is_swagger_file

    copy = Path(mkdtemp(prefix="readable-", dir=ground.scratch)) / "source"
    shutil.copytree(ground.source, copy, symlinks=True)
    renamed: dict[str, str] = {}
    for path in sorted(copy.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        if (text := _text_of(path.read_bytes())) is not None:
            path.write_text(text, "utf-8", newline="")
        name = path.relative_to(copy).as_posix()
        if any(passes(name) for passes in (is_lock_file, is_non_text_file, is_swagger_file)):
            other = f"{os.urandom(16).hex()}.txt"  # which no source holds
            path.rename(copy / other)
            renamed[other] = name
    return copy, renamed


def _text_of(data: bytes) -> str | None:
    """What a text that is not UTF-8 says, every byte a letter if nobody knows better; None for UTF-8 and no text."""
    if _is_utf8(data):
        return None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return None if b"\0" in data else data.decode("latin-1")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def analyse(ground: Ground) -> Found:
    """What is often unsafe in the wheel's code, by ruff's rules of the group S; no configuration is read. A module in
    another encoding than UTF-8, which Python runs and ruff passes over, is a finding; of a wheel without any Python, of
    which ruff says that it found nothing, nothing is said.
    """
    wheel = ground.wheel.resolve()
    modules = sorted(path for path in wheel.rglob("*") if path.suffix in {".py", ".pyi", ".ipynb"} and path.is_file())
    release = version_of("ruff")
    if not modules and release != UNKNOWN:
        return _not_run("static-analysis", "ruff", release, "there is no Python code in the wheel")
    unread = [
        Remark("encoding", f"{name} is not in UTF-8, and was not analysed", path=_in_source(ground, Path(name)))
        for name in (path.relative_to(wheel).as_posix() for path in modules if not _is_utf8(path.read_bytes()))
    ]

    def read(report: Any) -> list[Remark]:
        return unread + [
            Remark(
                entry["code"] or "syntax", f"{entry['code'] or 'syntax'} {entry['message']}",
                path=_in_source(ground, Path(entry["filename"]).relative_to(wheel)), line=int(entry["location"]["row"]),
            )
            for entry in report
        ]  # fmt: skip

    argv = [
        sys.executable, "-P", "-m", "ruff", "check", "--select", "S", "--isolated", "--no-cache", "--exit-zero",
        "--no-respect-gitignore", "--exclude", "no-such-file", "--output-format", "json",
    ]  # fmt: skip
    tool = _Tool("static-analysis", "ruff", ground, ground.wheel, read)
    return tool.found([*argv, "."], [*argv, "--ignore-noqa", "."])


def _in_source(ground: Ground, path: Path) -> str:
    """Where a file of the wheel lies in the source, as far as that can be told; else where it lies in the wheel."""
    for place in (path, "src" / path):
        if (ground.source / place).is_file():
            return place.as_posix()
    return path.as_posix()


def review_licences(ground: Ground) -> Found:
    """Licences that were not agreed to, of the wheel and of what it brings along."""
    tool, release = "license-expression", version_of("license-expression")
    if release == UNKNOWN:
        return _not_run("licences", tool, "", f"{tool} is not installed")
    return _counted("licences", tool, release, [Remark("licences", why) for why in ground.licences.objections()])


def _pytest(name: CheckName, ground: Ground, arguments: Sequence[str], nothing: str) -> Found:
    place = ground.scratch / name
    place.mkdir()
    (place / "loadlock_test_report.py").write_text(_REPORT)
    environ = _environ(place, ground) | {
        "PYTHONPATH": os.pathsep.join(map(str, (ground.wheel, place))),
        "LOADLOCK_TEST_REPORT": str(place / "report.json"),
    }
    tree = shutil.copytree(ground.source, place / "source", symlinks=True)  # tests leave things behind
    options = ["-q", "-p", "loadlock_test_report", "-p", "no:cacheprovider"]
    done = _run([ground.python, "-P", "-m", "pytest", *options, *arguments], tree, environ)
    if isinstance(done, str):
        return _not_run(name, "pytest", "", done)
    report = _json(place / "report.json")
    if report is None:
        missing = b"No module named pytest" in done.stderr
        reason = "pytest is not installed" if missing else _ended(done, "pytest")
        return _not_run(name, "pytest", "", reason, done.tail())
    release, passed, failed = str(report["version"]), int(report["passed"]), int(report["failed"])
    if done.status == 0 and passed and not failed:
        return Found(Check(name=name, result="passed", tool="pytest", version=release, findings=0))
    if done.status in (0, 5) and not failed:
        return _not_run(name, "pytest", release, nothing)
    if not failed:
        return _not_run(name, "pytest", release, _ended(done, "pytest"), done.tail())
    reason = f"{failed} failed, {passed} passed"
    check = Check(name=name, result="failed", tool="pytest", version=release, findings=failed, reason=reason)
    where = [Remark(name, f"{node} failed", path=path, line=line) for path, line, node in report["where"][:MAX_REMARKS]]
    return Found(check, tuple(map(quoted, done.tail().splitlines())), tuple(where))


@dataclass(frozen=True)
class _Tool:
    """A tool that prints its findings as JSON: which check it is for, and how what it prints is read."""

    name: CheckName
    tool: str
    ground: Ground
    place: Path
    read: Callable[[Any], list[Remark]]

    def found(self, argv: Sequence[str], unsuppressed: Sequence[str]) -> Found:
        """Run it; and once more, so that it is known how much the code itself tells it to pass over."""
        release = version_of(self.tool)
        if release == UNKNOWN:
            return _not_run(self.name, self.tool, "", f"{self.tool} is not installed")
        findings = self._findings(argv, release)
        if isinstance(findings, Found):
            return findings
        everything = self._findings(unsuppressed, release)
        if isinstance(everything, Found):
            return everything
        outcome = _counted(self.name, self.tool, release, findings)
        suppressed = len(set(everything) - set(findings))
        return replace(outcome, check=msgspec.structs.replace(outcome.check, suppressed=suppressed))

    def _findings(self, argv: Sequence[str], release: str) -> list[Remark] | Found:
        scratch = Path(mkdtemp(prefix=f"{self.name}-", dir=self.ground.scratch))
        done = _run(argv, self.place, _environ(scratch, self.ground))
        if isinstance(done, str):
            return _not_run(self.name, self.tool, release, done)
        if done.status != 0:
            return _not_run(self.name, self.tool, release, _ended(done, self.tool), done.tail())
        try:
            return self.read(json.loads(done.stdout))
        except (ValueError, KeyError, TypeError):
            return _not_run(self.name, self.tool, release, f"what {self.tool} printed cannot be read")


def _run(argv: Sequence[str], place: Path, environ: dict[str, str]) -> processes.Finished | str:
    """How it ended, or why it never began. It sees no other processes than its own where the system allows that."""
    if shutil.which(argv[0], path=environ["PATH"]) is None:
        return f"it cannot be started: {os.strerror(errno.ENOENT)}"
    try:
        return processes.run([*with_network().words, *argv], cwd=place, environ=environ, seconds=CHECK_SECONDS)
    except OSError as error:
        return f"it cannot be started: {error.strerror}"


def _environ(scratch: Path, ground: Ground) -> dict[str, str]:
    """All that a tool gets to see of this machine: no token, no configuration, no home."""
    (scratch / "home").mkdir()
    return {
        "HOME": str(scratch / "home"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PATH": os.pathsep.join([str(Path(ground.python).parent), os.defpath]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(scratch),
        "TZ": "UTC",
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _ended(done: processes.Finished, tool: str) -> str:
    return f"{tool} ended with {done.status}" if done.status is not None else f"it took over {CHECK_SECONDS:.0f} s"


def _counted(name: CheckName, tool: str, release: str, findings: Sequence[Remark]) -> Found:
    count = len(findings)
    if not count:
        return Found(Check(name=name, result="passed", tool=tool, version=release, findings=0))
    reason = f"{count} finding{'s' if count > 1 else ''}"
    check = Check(name=name, result="failed", tool=tool, version=release, findings=count, reason=reason)
    return Found(check, tuple(map(str, findings[:SHOWN])), tuple(findings[:MAX_REMARKS]))


def _not_run(name: CheckName, tool: str, release: str, reason: str, output: str = "") -> Found:
    check = Check(name=name, result="not-run", tool=tool if release else "", version=release, reason=reason)
    return Found(check, tuple(map(quoted, output.splitlines())))


Tool = Callable[[Ground], Found]
TOOLS: Mapping[CheckName, Tool] = {
    "tests": run_tests,
    "egress-tests": run_egress_tests,
    "secrets": scan_secrets,
    "static-analysis": analyse,
    "licences": review_licences,
}
"""One for each check, in the order of the list."""
