"""What is known of the vulnerabilities of a plugin's dependencies, one by one. Never a bare "clean".

A dependency is vulnerable; or its source of advisories was asked in full, is recent, and knows nothing against it; or
it is not audited, with the reason. A finding stands whatever the state of the source; silence has to be earned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from attestor.building.versions import version_of
from attestor.checking.osv import Database
from attestor.checking.remarks import Level, Remark
from attestor.describing.vendored import components_inside
from verifier.errors import Refused, UsageError
from verifier.formats import findings as formats
from verifier.formats.findings import NEVER, Audited, Severity, Unread, Vulnerabilities, Vulnerability, rating_named
from verifier.formats.manifest import SignedManifest
from verifier.formats.strict_json import quoted
from verifier.formats.text import Duration, Time, Version

if TYPE_CHECKING:
    from attestor.checking.scanner import Answer, Finding, Scanner

#: What is recorded of a source of advisories instead of its address, which may be private.
DATABASE = "https://loadlock.dev/advisories/osv-database"
SERVICE = "https://loadlock.dev/advisories/{}-service"
#: How old a database may be whose silence means something.
MAX_AGE = Duration("P7D")
BY_HOST = "provided by the host, which has the version"
#: How many advisories that cannot be read are named.
MAX_NAMED = 20


@dataclass(frozen=True)
class Dependency:
    """One dependency to be audited: its normalised name, and its version unless the host provides it."""

    name: str
    version: Version | None


@dataclass(frozen=True)
class Known:
    """What is known of one dependency: findings, or why nothing is known, or neither: nothing is known against it."""

    dependency: Dependency
    findings: tuple[Finding, ...] = ()
    reason: str = ""

    @property
    def audited(self) -> Audited:
        """As it is stated."""
        outcome: formats.Outcome = (
            "vulnerable" if self.findings else "not-audited" if self.reason else "no-known-vulnerability"
        )
        reason = "" if self.findings else self.reason
        return Audited(name=self.dependency.name, version=self.dependency.version, outcome=outcome, reason=reason)


@dataclass(frozen=True)
class Audit:
    """An audit: what is known of each dependency, what is signed of it, and whether a service was there at all."""

    known: tuple[Known, ...]
    predicate: Vulnerabilities
    gone: bool = False

    @property
    def remarks(self) -> list[Remark]:
        """What is told to CI systems: each vulnerability, and each dependency of which nobody knows anything."""
        return [remark for entry in self.known for remark in _remarks(entry)]


def described(found: Finding) -> str:
    """A vulnerability in a line."""
    known_as = f" ({', '.join(found.aliases[:3])})" if found.aliases else ""
    mended = f"fixed in {', '.join(found.fixed[:5])}" if found.fixed else "no release mends it"
    return f"{found.id}{known_as} {found.rating}: {found.summary}; {mended}"


def _remarks(known: Known) -> list[Remark]:
    stated = known.audited
    if stated.outcome == "not-audited":
        level: Level = "note" if stated.version is None else "error"
        what = f"{stated.name} {stated.version or '(from the host)'}: not audited, {stated.reason}"
        return [Remark("vulnerabilities.not-audited", what, level)]
    return [
        Remark(found.id, f"{stated.name} {stated.version}: {described(found)}", rating=rating_named(found.rating))
        for found in known.findings
    ]


def dependencies_of(manifest: SignedManifest, sbom: bytes | None = None) -> list[Dependency]:
    """What a plugin brings along, what it carries inside its wheel, and what it needs of its host, sorted by name.

    Args:
        manifest: what it requires.
        sbom: its SBOM's predicate, which says what it carries; None: nobody says.

    Raises:
        Refused: ``vulnerabilities.not-audited``: two versions of one name, of which an audit can state one alone.
        FormatError: any ``format.*`` code.
    """
    found: dict[str, Version | None] = {entry.project: None for entry in manifest.host_provided}
    found |= {entry.name: entry.version for entry in manifest.dependencies}
    for part in components_inside(sbom) if sbom is not None else ():
        name, number = str(part["name"]), Version(str(part.get("version", "")))
        if found.setdefault(name, number) != number:
            raise Refused(
                "vulnerabilities.not-audited", f"the plugin has {name!a} twice, in two versions",
                found=f"{number} inside the wheel, {found[name] or 'that of the host'} beside it",
                expected="one version of each name, of which an audit can speak",
                todo="Take it out of the wheel, or out of the requirements.",
            )  # fmt: skip
    return [Dependency(name, number) for name, number in sorted(found.items())]


def audit_over_database(
    manifest: SignedManifest,
    database: Database,
    *,
    now: datetime,
    max_age: Duration = MAX_AGE,
    sbom: bytes | None = None,
) -> Audit:
    """Audit a plugin's dependencies over a database of advisories.

    Args:
        manifest: what they are.
        database: as it was read.
        now: the moment, aware, UTC.
        max_age: beyond this, that the database knows nothing means nothing.
        sbom: the SBOM's predicate, which says what the wheel carries inside.

    Raises:
        Refused: as :func:`dependencies_of`.
        UsageError: ``usage.extra``.
    """
    silence = _why_silence_means_nothing(database, now, max_age)

    def objection(dependency: Dependency) -> str:
        return silence or ("an advisory about it cannot be evaluated" if dependency.name in database.unknown else "")

    began = perf_counter()
    known, _ = _ask(_pip_audit().over_database(database), dependencies_of(manifest, sbom), objection)
    names = tuple(quoted(name)[:200] for name in database.unread[:MAX_NAMED])
    predicate = _predicate(
        known,
        formats.AdvisoryDatabase(uri=DATABASE, version=database.digest, lastUpdate=min(database.newest, Time.of(now))),
        times=_times(now, began),
        advisories=database.count,
        unread=Unread(count=len(database.unread), names=names) if names else None,
        max_age=max_age,
    )
    return Audit(known, predicate)


def audit_over_service(
    manifest: SignedManifest,
    service: Literal["osv", "pypi"],
    *,
    now: datetime,
    address: str = "",
    sbom: bytes | None = None,
) -> Audit:
    """Audit a plugin's dependencies over an online service.

    Args:
        manifest: what they are.
        service: which of those that pip-audit knows.
        now: the moment, aware, UTC.
        address: where an OSV service of one's own answers; empty: the public one.
        sbom: the SBOM's predicate, which says what the wheel carries inside.

    Raises:
        Refused: as :func:`dependencies_of`.
        UsageError: ``usage.extra``; ``usage.configuration`` for an address that cannot be used.
    """
    began = perf_counter()
    known, gone = _ask(_pip_audit().over_service(service, address), dependencies_of(manifest, sbom), lambda _: "")
    # What it knew is as recent as its answers; where it gave none, nothing was learnt.
    heard = any(entry.findings or not entry.reason for entry in known)
    source = formats.AdvisoryDatabase(uri=SERVICE.format(service), lastUpdate=Time.of(now) if heard else NEVER)
    return Audit(known, _predicate(known, source, times=_times(now, began)), gone)


def _pip_audit() -> ModuleType:
    try:
        from attestor.checking import scanner
    except ImportError as error:
        raise UsageError("usage.extra", "audits need pip-audit", expected="the extra loadlock[attestor]") from error
    return scanner


def _why_silence_means_nothing(database: Database, now: datetime, max_age: Duration) -> str:
    """Why nobody can conclude anything from a database that knows nothing; empty when one can."""
    if database.count == 0:
        return "the database is empty"
    if database.unplaced:
        return f"{database.unplaced} advisories of the database cannot be read"
    if database.newest == NEVER:
        return "no advisory about Python distributions says when it was modified"
    if now - database.newest.instant > max_age.span:
        return f"the database is older than {max_age}: its newest advisory is of {database.newest}"
    return ""


def _ask(
    scanner: Scanner, dependencies: Iterable[Dependency], objection: Callable[[Dependency], str]
) -> tuple[tuple[Known, ...], bool]:
    """What is known of each; once a service is gone, it is not asked again."""
    known: list[Known] = []
    gone: Answer | None = None
    for dependency in dependencies:
        if dependency.version is None:
            known.append(Known(dependency, reason=BY_HOST))
            continue
        answer = gone or scanner.ask(dependency.name, dependency.version)
        gone = answer if answer.gone else None
        known.append(Known(dependency, answer.findings, answer.reason or objection(dependency)))
    return tuple(known), gone is not None


def _times(now: datetime, began: float) -> formats.ScanTimes:
    finished = now + timedelta(seconds=perf_counter() - began)
    return formats.ScanTimes(scanStartedOn=Time.of(now), scanFinishedOn=Time.of(finished))


def _predicate(
    known: tuple[Known, ...],
    source: formats.AdvisoryDatabase,
    *,
    times: formats.ScanTimes,
    advisories: int | None = None,
    unread: Unread | None = None,
    max_age: Duration | None = None,
) -> Vulnerabilities:
    release = version_of("pip-audit")
    dated = source.lastUpdate != NEVER
    age = formats.duration_of(times.scanStartedOn.instant - source.lastUpdate.instant) if dated else None
    return Vulnerabilities(
        scanner=formats.Scanner(
            uri=f"pkg:pypi/pip-audit@{release}",
            version=release,
            db=source,
            result=tuple(_vulnerability(entry.audited, found) for entry in known for found in entry.findings),
        ),
        metadata=times,
        audit=formats.Audit(
            dependencies=tuple(entry.audited for entry in known),
            advisories=advisories,
            unread=unread,
            age=age,
            max_age=max_age,
        ),
    )


def _vulnerability(dependency: Audited, found: Finding) -> Vulnerability:
    return Vulnerability(
        id=found.id,
        severity=(Severity(method=formats.RATING, score=found.rating), *found.severities[:10]),
        annotations=(
            formats.Affected(
                purl=dependency.purl, aliases=found.aliases, fixed=tuple(Version(entry) for entry in found.fixed)
            ),
        ),
    )
