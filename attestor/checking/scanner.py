"""pip-audit as a library, and the only module that knows its inside.

Its modules begin with an underscore, so the release is pinned, and another one is refused. What it would pass over in
silence is an answer here: each dependency comes back with findings, with none, or with the reason why nobody knows.

Answers of online services come through an adapter of our own: nothing is taken from a cache, an answer has a size cap
and a deadline, and one that does not say what was asked is no answer. Left alone, pip-audit takes an index that knows
no vulnerability data for one that knows of no vulnerabilities, and reads the first of several pages.
"""

from __future__ import annotations

import io
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pip_audit._service.interface as inside  # type: ignore[import-untyped]
import requests
from packaging.version import Version
from pip_audit._audit import Auditor  # type: ignore[import-untyped]
from pip_audit._dependency_source import DependencySource  # type: ignore[import-untyped]
from pip_audit._service import (
    OsvService,
    PyPIService,
    ResolvedDependency,
    VulnerabilityResult,
    VulnerabilityService,
)
from requests.adapters import HTTPAdapter

from attestor.checking.osv import Database
from verifier.addresses import split
from verifier.errors import FormatError, UsageError
from verifier.formats.advisory import Advisory
from verifier.formats.findings import RATINGS, Rating, Severity
from verifier.formats.strict_json import convert, loads, quoted

#: The releases of pip-audit whose inside this module knows.
RELEASES = "2.10."
#: One answer of a service: its size in bytes, and how long it may take from first to last, in seconds.
MAX_ANSWER = 32 * 1024 * 1024
ANSWER_SECONDS = 20.0
_CHUNK = 64 * 1024

ServiceName = Literal["osv", "pypi"]
_Results = tuple[list[VulnerabilityResult], bool]
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Finding:
    """A vulnerability of one dependency.

    Args:
        id: its first name.
        aliases: its other names, sorted.
        fixed: the versions that mend it, in their order.
        rating: how severe it is; ``unknown`` when nobody says.
        severities: the scores that were given.
        summary: what it is, in one line.
    """

    id: str
    aliases: tuple[str, ...]
    fixed: tuple[str, ...]
    rating: Rating | Literal["unknown"]
    severities: tuple[Severity, ...]
    summary: str


@dataclass(frozen=True)
class Answer:
    """What is known of one dependency: findings, or none; or why nothing is known. ``gone``: nobody answered."""

    findings: tuple[Finding, ...] = ()
    reason: str = ""
    gone: bool = False


class _NoAnswer(Exception):
    """Something came back, or nothing did, and it is no answer to what was asked."""

    def __init__(self, reason: str, *, gone: bool = False) -> None:
        super().__init__(reason)
        self.gone = gone


class Scanner:
    """Asks one source of advisories about one dependency after the other.

    Args:
        service: the source, as pip-audit sees it.
        advisories: by id, filled while asking: what the source says beyond what pip-audit keeps.
    """

    def __init__(self, service: VulnerabilityService, advisories: dict[str, Advisory]) -> None:
        self._auditor = Auditor(service)
        self._advisories = advisories

    def ask(self, name: str, number: str) -> Answer:
        """What is known of one version of a distribution; whatever goes wrong is a reason, never an all-clear."""
        with _warnings() as warnings:
            try:
                found, skipped = _in_time(lambda: self._audit(name, number))
            except _NoAnswer as error:
                return Answer(reason=str(error), gone=error.gone)
            except (requests.ConnectionError, requests.Timeout, inside.ConnectionError):
                return Answer(reason="the service cannot be reached", gone=True)
            except Exception as error:  # whatever nobody foresaw is no answer either
                return Answer(reason=f"the service's answer cannot be used: {type(error).__name__}")
        if found:
            return Answer(tuple(self._finding(result) for result in found))
        if skipped:
            return Answer(reason="the service does not know this release")
        return Answer(reason="the service's answer was not read in full") if warnings.seen else Answer()

    def _audit(self, name: str, number: str) -> _Results:
        ((dependency, results),) = self._auditor.audit(_One(name, number))
        return results, dependency.is_skipped()

    def _finding(self, result: VulnerabilityResult) -> Finding:
        names = sorted({str(result.id), *map(str, result.aliases)} - {str(result.id)})
        known = [self._advisories[name] for name in (result.id, *names) if name in self._advisories]
        ratings = [advisory.rating for advisory in known if advisory.rating != "unknown"]
        fixed = [str(entry) for entry in sorted(set(result.fix_versions)) if len(str(entry)) <= 64]
        return Finding(
            id=quoted(str(result.id)),
            aliases=tuple(map(quoted, names[:100])),
            fixed=tuple(fixed[:500]),
            rating=max(ratings, key=RATINGS.index) if ratings else "unknown",
            severities=tuple(dict.fromkeys(entry for advisory in known for entry in advisory.severities)),
            summary=quoted(str(result.description))[:100],
        )


def over_database(database: Database) -> Scanner:
    """A scanner over a database that was read; raises UsageError ``usage.extra`` as :func:`over_service`."""
    _require_release()
    advisories: dict[str, Advisory] = {}
    return Scanner(_DatabaseService(database, advisories), advisories)


def over_service(name: ServiceName, address: str = "") -> Scanner:
    """A scanner over an online service.

    Args:
        name: which of the services that pip-audit knows.
        address: where an OSV service of one's own answers queries; empty: the public one.

    Raises:
        UsageError: ``usage.extra``: another release of pip-audit than the pinned one;
            ``usage.configuration``: an address that is neither https nor loopback.
    """
    _require_release()
    advisories: dict[str, Advisory] = {}
    with TemporaryDirectory(prefix="loadlock-audit-") as unused:  # a cache that nothing is put into
        options: dict[str, Any] = {"osv_url": _safe(address)} if address else {}
        kind = OsvService if name == "osv" else PyPIService
        service = kind(cache_dir=Path(unused), timeout=2 * ANSWER_SECONDS, **options)  # ends the thread, later
    adapter = _Adapter(name, advisories)
    for scheme in ("https://", "http://"):
        service.session.mount(scheme, adapter)
    return Scanner(service, advisories)


def _require_release() -> None:
    if not version("pip-audit").startswith(RELEASES):
        raise UsageError(
            "usage.extra", "this release of pip-audit is not known", found=version("pip-audit"),
            expected=f"{RELEASES}*, as the extra loadlock[attestor] has it",
        )  # fmt: skip


def _safe(address: str) -> str:
    parts = split(address)
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not secure or not parts.hostname or parts.username is not None:
        raise UsageError(
            "usage.configuration", "the service's address cannot be used", found=repr(parts.hostname or "no host"),
            expected="https://HOST/PATH, without a user",
        )  # fmt: skip
    return address


class _One(DependencySource):  # type: ignore[misc]
    """One dependency, as pip-audit wants to be given it."""

    def __init__(self, name: str, number: str) -> None:
        self._dependency = ResolvedDependency(name=name, version=Version(number))

    def collect(self) -> Iterator[ResolvedDependency]:
        yield self._dependency

    def fix(self, fix_version: object) -> None:
        raise NotImplementedError("nothing is upgraded here")


class _DatabaseService(VulnerabilityService):  # type: ignore[misc]
    """A database, as pip-audit wants to ask it."""

    def __init__(self, database: Database, advisories: dict[str, Advisory]) -> None:
        self._database = database
        self._advisories = advisories

    def query(self, spec: ResolvedDependency) -> tuple[ResolvedDependency, list[VulnerabilityResult]]:
        found = []
        for advisory, fixed in self._database.matches(spec.name, spec.version):
            self._advisories[advisory.id] = advisory
            names = [advisory.id, *advisory.aliases]
            found.append(VulnerabilityResult.create(names, advisory.summary or "no summary", list(fixed), None))
        return spec, found


class _Adapter(HTTPAdapter):
    """Reads each answer in full and under its cap, and refuses one that is no answer."""

    def __init__(self, service: ServiceName, advisories: dict[str, Advisory]) -> None:
        super().__init__(max_retries=0)
        self._service = service
        self._advisories = advisories

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        try:
            _safe(request.url or "")
        except UsageError as error:
            raise _NoAnswer("the service leads to an address that cannot be trusted", gone=True) from error
        response = super().send(request, *args, **{**options, "stream": True})
        body = _read(response)
        response.raw = io.BytesIO(body)
        if response.status_code == 200:
            self._examine(body)
        elif not response.is_redirect and (self._service, response.status_code) != ("pypi", 404):
            raise _NoAnswer(
                f"the service answered with status {response.status_code}", gone=response.status_code >= 500
            )
        return response

    def _examine(self, body: bytes) -> None:
        try:
            answer = loads(body, limit=MAX_ANSWER, what="answer")
            known = _advisories_in(answer) if self._service == "osv" else _knows_vulnerabilities(answer)
        except FormatError as error:
            raise _NoAnswer("the service's answer is not what was asked for") from error
        self._advisories.update((advisory.id, advisory) for advisory in known)


def _advisories_in(answer: Any) -> Iterable[Advisory]:
    if not isinstance(answer, dict) or answer.keys() - {"vulns"}:
        raise FormatError("format.schema", "an answer of one page was expected")
    return convert(answer.get("vulns", []), list[Advisory], what="advisories")


def _knows_vulnerabilities(answer: Any) -> Sequence[Advisory]:
    if not isinstance(answer, dict) or not isinstance(answer.get("vulnerabilities"), list):
        raise FormatError("format.schema", "an index that knows vulnerabilities was expected")
    return ()  # it says nothing about how severe they are


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.raw.stream(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > MAX_ANSWER:
            raise _NoAnswer("the service's answer is too large")
    return bytes(body)


def _in_time(ask: Callable[[], _Results]) -> _Results:
    """The outcome of ``ask``, or no answer once the deadline has passed: a name server can hang, too."""
    outcomes: queue.SimpleQueue[_Results | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcomes.put(ask())
        except Exception as error:  # handed over, and raised where it was asked
            outcomes.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        outcome = outcomes.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise _NoAnswer("the service did not answer in time", gone=True) from None
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class _Warnings(logging.Handler):
    """Keeps what pip-audit only warns of: that it passes something over."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += 1


@contextmanager
def _warnings() -> Iterator[_Warnings]:
    handler, logger = _Warnings(), logging.getLogger("pip_audit")
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
