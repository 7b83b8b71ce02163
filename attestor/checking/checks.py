"""The release checklist: what the owner has checked before anybody signs for a release, as a signed test result.

A check that did not run counts as one that failed. Either stops the release, unless it is waived with a reason and an
end; the waiver stands in the statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from attestor.building.source import Source, describe, export, left_out
from attestor.checking.amend import Subject
from attestor.checking.check_tools import TOOLS
from attestor.checking.ground import Found, Ground
from attestor.checking.remarks import Level, Remark
from attestor.checking.waivers import Waivers
from attestor.describing.licences import ALLOWED, licences_of
from verifier.errors import Refused
from verifier.formats.findings import Checklist, TestResult, summary_of
from verifier.formats.statement import PROVENANCE, Resource, parse_provenance
from verifier.progress import SILENT, Progress
from verifier.wheels.wheel import Snapshot

#: The marker of the tests that show where a plugin connects to.
EGRESS = "egress"


@dataclass(frozen=True)
class Options:
    """How a release is checked.

    Args:
        python: the interpreter that runs the tests; it has to have what they need.
        egress: the marker of the egress tests, or where they lie in the source.
        allowed: licences that were agreed to, as SPDX names them.
        waivers: what is let pass.
    """

    python: str
    egress: str = EGRESS
    allowed: Sequence[str] = ALLOWED
    waivers: Waivers = field(default_factory=Waivers)


@dataclass(frozen=True)
class Checked:
    """The outcome: each check with what a person should see of it, what is signed, and what CI systems are told."""

    found: tuple[Found, ...]
    predicate: TestResult
    remarks: tuple[Remark, ...]


def check_release(
    subject: Subject, path: Path, options: Options, *, now: datetime, progress: Progress = SILENT
) -> Checked:
    """Run the whole checklist.

    Args:
        subject: the wheel, its set and its manifest.
        path: the source that the wheel was built from: a directory in a clean git repository, or the sdist.
        options: see there.
        now: the moment, aware, UTC.
        progress: is told of the checks.

    Raises:
        Refused: ``provenance.source``: the wheel was built from another source; ``source.*``.
    """
    source = describe(path)
    _check_source(source, subject)
    found: list[Found] = []
    with TemporaryDirectory(prefix="loadlock-check-") as place:
        ground = _ground(source, subject, options, Path(place))
        for name, tool in TOOLS.items():
            with progress.step(name) as step:
                outcome = tool(ground)
                found.append(replace(outcome, check=options.waivers.apply(outcome.check, now)))
                step.says(_told(found[-1]))
    checklist = Checklist(checks=tuple(outcome.check for outcome in found))
    predicate = TestResult(configuration=_configuration(source, options), checklist=checklist, **summary_of(checklist))
    remarks = [remark for outcome in found for remark in _remarks(outcome, source.subdirectory)]
    return Checked(tuple(found), predicate, tuple(remarks))


def _remarks(found: Found, directory: str) -> list[Remark]:
    """What is told of a check that did not pass, by places in the repository."""
    check = found.check
    if check.result == "passed":
        return []
    level: Level = "warning" if check.waiver else "error"
    until = f" (waived until {check.waiver.expires})" if check.waiver else ""
    told = found.remarks or (Remark(check.name, f"{check.name}: {check.reason}"),)
    return [
        replace(
            entry, level=level, message=entry.message + until, path=(PurePosixPath(directory) / entry.path).as_posix()
        )
        for entry in told
    ]


def _told(found: Found) -> str:
    """How a check ended, for a person: a line, and one for each thing that it shows."""
    check = found.check
    tool = f"{check.tool} {check.version}" if check.tool else "no tool"
    lines = [f"{check.result:<8}{tool}{f', {check.reason}' if check.reason else ''}"]
    if check.suppressed:
        lines.append(f"{check.suppressed} more that comments in the code take out")
    if check.waiver is not None:
        lines.append(f"waived until {check.waiver.expires}: {check.waiver.reason}")
    return "\n  ".join([*lines, *found.shown])


def _check_source(source: Source, subject: Subject) -> None:
    """That the source is the one the wheel was built from, as far as anybody knows what that was.

    Raises:
        Refused: ``provenance.source``.
    """
    stated = subject.manifest.source
    pairs = [("commit", stated.commit, source.commit), ("sdist", stated.sdist and stated.sdist.hex, source.sha256)]
    if PROVENANCE in subject.found.statements:
        provenance = parse_provenance(subject.found.statements[PROVENANCE].statement.predicate)
        directory = provenance.buildDefinition.externalParameters.subdirectory
        pairs.append(("subdirectory", directory, source.subdirectory))
    for what, expected, found in pairs:
        if expected is not None and expected != found:
            raise Refused(
                "provenance.source", "this is not the source that the wheel was built from",
                found=f"{what} {found!a}", expected=f"{what} {expected!a}",
                todo="Check the release from a checkout of its own commit.",
            )  # fmt: skip


def _ground(source: Source, subject: Subject, options: Options, place: Path) -> Ground:
    for name in ("source", "wheel", "scratch"):
        (place / name).mkdir()
    tree = export(source, place / "source")
    _unpack(subject.found.snapshot, place / "wheel")
    licences = licences_of(subject.found, subject.manifest, options.allowed)
    unseen = left_out(source, tree)
    return Ground(tree, place / "wheel", place / "scratch", options.python, options.egress, licences, unseen)


def _unpack(wheel: Snapshot, into: Path) -> None:
    """The wheel's files below ``into``; the strict reader has seen to it that no path leads elsewhere."""
    for name in wheel.files:
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(wheel.files[name])


def _configuration(source: Source, options: Options) -> tuple[Resource, ...]:
    if source.kind == "git":
        uri = f"git+{source.repository}" if source.repository else ""
        checked = Resource(uri=uri, name="source", digest={"gitCommit": source.commit, "gitTree": source.tree})
    else:
        checked = Resource(uri=source.purl, name="source", digest={"sha256": source.sha256})
    licences = Resource(name="licences", annotations={"allowed": list(options.allowed)})
    waivers = [Resource(name="waivers", digest={"sha256": options.waivers.sha256})] if options.waivers.sha256 else []
    return (checked, licences, *waivers)
