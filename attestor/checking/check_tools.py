"""The single checks of a release, each by a tool of its trade. None raises for what it finds: it is all reported.

Tools that look at code look at the wheel, since that is what is released; the scan for secrets looks at the source,
where they would be committed. The tests are in :mod:`attestor.checking.suite`.
"""

from __future__ import annotations

import codecs
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

from attestor.building.versions import UNKNOWN, version_of
from attestor.checking.ground import Found, Ground, ended, environ_of, not_run, run
from attestor.checking.remarks import MAX_REMARKS, Remark
from attestor.checking.suite import run_egress_tests, run_tests
from verifier.formats.findings import Check, CheckName

#: How many findings a person gets to see of one check.
SHOWN = 20
_SCANNER = "detect-secrets"
#: What the scanner finds by likeness alone: too much, in files that are full of digests.
_GUESSES = frozenset({"Base64 High Entropy String", "Hex High Entropy String", "Secret Keyword"})


def scan_secrets(ground: Ground) -> Found:
    """What looks like a secret in the source; nothing is sent anywhere to see whether it works. A file that the commit
    keeps out of every export by attributes is a finding, since nobody has looked into it.
    """
    release = version_of(_SCANNER)
    if release == UNKNOWN:
        return not_run("secrets", _SCANNER, "", f"{_SCANNER} is not installed")
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
        return not_run("static-analysis", "ruff", release, "there is no Python code in the wheel")
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
        return not_run("licences", tool, "", f"{tool} is not installed")
    return _counted("licences", tool, release, [Remark("licences", why) for why in ground.licences.objections()])


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
            return not_run(self.name, self.tool, "", f"{self.tool} is not installed")
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
        done = run(argv, self.place, environ_of(scratch, self.ground))
        if isinstance(done, str):
            return not_run(self.name, self.tool, release, done)
        if done.status != 0:
            return not_run(self.name, self.tool, release, ended(done, self.tool), done.tail())
        try:
            return self.read(json.loads(done.stdout))
        except (ValueError, KeyError, TypeError):
            return not_run(self.name, self.tool, release, f"what {self.tool} printed cannot be read")


def _counted(name: CheckName, tool: str, release: str, findings: Sequence[Remark]) -> Found:
    count = len(findings)
    if not count:
        return Found(Check(name=name, result="passed", tool=tool, version=release, findings=0))
    reason = f"{count} finding{'s' if count > 1 else ''}"
    check = Check(name=name, result="failed", tool=tool, version=release, findings=count, reason=reason)
    return Found(check, tuple(map(str, findings[:SHOWN])), tuple(findings[:MAX_REMARKS]))


Tool = Callable[[Ground], Found]
TOOLS: Mapping[CheckName, Tool] = {
    "tests": run_tests,
    "egress-tests": run_egress_tests,
    "secrets": scan_secrets,
    "static-analysis": analyse,
    "licences": review_licences,
}
"""One for each check, in the order of the list."""
