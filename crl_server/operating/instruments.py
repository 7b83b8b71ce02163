"""What is measured of a running server, in Prometheus's text format (docs/guides/operate.md says what each means).

Requests are counted as they come; everything else is looked up when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from crl_server.export.worker import ExportWorker
from crl_server.operating import counting
from crl_server.operating.endings import KINDS
from crl_server.operating.readiness import check_ready
from crl_server.processes.board import Board
from crl_server.processes.tally import Telling, Together
from crl_server.service import Authority
from crl_server.webhooks import outbox
from crl_server.webhooks.worker import WebhookWorker
from verifier.errors import LoadlockError

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends, in seconds, of the ranges that latencies are counted in."""


class Instruments:
    """What one process of a server counts, and what it can tell of the deployment.

    Args:
        exports: the exports of this process.
        streams: tells how many push streams are open.
        webhooks: the webhooks of this process, asked for anew each time.
        here: tells whether exports and webhooks are kept by this process.
        board: what the workers of a team share; None for a process that serves alone.

    Attributes:
        registry: what is exported.
        damaged: counts the requests that were refused because a public file is damaged.
    """

    def __init__(
        self,
        exports: Sequence[ExportWorker] = (),
        streams: Callable[[], int] = lambda: 0,
        webhooks: Iterable[WebhookWorker] = (),
        here: Callable[[], bool] = lambda: True,
        board: Board | None = None,
    ) -> None:
        self.exports = tuple(exports)
        self.webhooks = webhooks
        self.streams = streams
        self.here = here
        self._own = CollectorRegistry()
        self._common = self._own if board is None else CollectorRegistry()
        self.registry = self._own
        if board is not None:
            self.registry = CollectorRegistry()
            self.registry.register(Together(self._own, self._common, board))
        ProcessCollector(registry=self._own)
        self._requests = Counter(
            "loadlock_http_requests", "Requests that were answered.", ["method", "route", "status"],
            registry=self._own,
        )  # fmt: skip
        self._seconds = Histogram(
            "loadlock_http_request_seconds", "How long requests took.", ["method", "route"], buckets=BUCKETS,
            registry=self._own,
        )  # fmt: skip
        self.damaged = Counter(
            "loadlock_damaged_answers", "Requests that were refused because a public file is damaged.",
            registry=self._own,
        )  # fmt: skip
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[tuple[str, str], Histogram] = {}

    def telling(self, board: Board) -> Telling:
        """Writes what this process counts on the board while inside its block."""
        return Telling(self._own, board)

    def answered(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request, and how long it took; None for a stream."""
        # There are no more of them than routes and statuses, and to look a child up costs more than to count.
        counter = self._counters.get((method, route, status))
        if counter is None:
            counter = self._counters[method, route, status] = self._requests.labels(method, route, str(status))
        counter.inc()
        if seconds is None:
            return
        timer = self._timers.get((method, route))
        if timer is None:
            timer = self._timers[method, route] = self._seconds.labels(method, route)
        timer.observe(seconds)

    def watch(self, authority: Authority, clock: Callable[[], datetime]) -> None:
        """Tell of a deployment too, whenever somebody asks."""
        self._own.register(_Process(self, authority, clock))
        self._common.register(_Deployment(authority, clock))


class _Process(Collector):
    """Looks up what this process does beside answering."""

    def __init__(self, instruments: Instruments, authority: Authority, clock: Callable[[], datetime]) -> None:
        self._instruments = instruments
        self._authority = authority
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: registering must not ask the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every family, each with its value now."""
        yield _gauge(
            "loadlock_push_streams", "Push streams that are open in this process.", self._instruments.streams()
        )
        if not self._instruments.here():
            return
        with suppress(LoadlockError):  # loadlock_ready tells, and the log tells why
            yield from self._webhooks()
        yield from _exports(self._instruments.exports, self._clock())

    def _webhooks(self) -> Iterator[Metric]:
        pending, dead = (
            GaugeMetricFamily(f"loadlock_webhook_{name}", text, labels=["webhook"])
            for name, text in (
                ("pending", "Events that a webhook is still to be told of."),
                ("given_up", "Events that a webhook was not told of in the end."),
            )
        )
        done, failed = (
            CounterMetricFamily(f"loadlock_webhook_{name}", text, labels=["webhook"])
            for name, text in (
                ("deliveries", "Events that a webhook has taken."),
                ("failures", "Attempts to tell a webhook that failed."),
            )
        )
        with self._authority.store.read() as ledger:
            backlogs = {worker: outbox.backlog(ledger, worker.name) for worker in self._instruments.webhooks}
        for worker, found in backlogs.items():
            pending.add_metric([worker.name], found.pending)
            dead.add_metric([worker.name], found.dead)
            done.add_metric([worker.name], worker.sent.delivered)
            failed.add_metric([worker.name], worker.sent.failed)
        yield from (pending, dead, done, failed)


class _Deployment(Collector):
    """Looks a deployment up; what cannot be looked up is left out, and ``loadlock_ready`` is 0."""

    def __init__(self, authority: Authority, clock: Callable[[], datetime]) -> None:
        self._authority = authority
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: registering must not ask the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every family, each with its value now."""
        now = self._clock()
        yield _family("loadlock_build_info", "The release that runs.", {"version": version("loadlock")}, 1)
        yield from self._ready(now)
        for part in (self._list, self._expiries, self._counts):
            try:
                yield from part(now)
            except LoadlockError:
                continue  # loadlock_ready tells, and the log tells why

    def _ready(self, now: datetime) -> Iterator[Metric]:
        code = ""
        try:
            check_ready(self._authority, now)
        except LoadlockError as error:
            code = error.code
        yield _gauge("loadlock_ready", "Whether the service can do its work, as /readyz tells.", 0 if code else 1)

    def _list(self, now: datetime) -> Iterator[Metric]:
        current = self._authority.publisher.read(self._authority.repository.trust(), now)
        head = current.head
        yield _gauge("loadlock_list_epoch", "The epoch of the list that is served.", head.epoch)
        yield _gauge("loadlock_list_seq", "The number of the last event on the list that is served.", head.seq)
        yield _gauge("loadlock_list_entries", "Entries of the list that is served.", current.count)
        yield _gauge("loadlock_list_tail_entries", "Entries since the last checkpoint.", len(current.added))
        yield _gauge("loadlock_list_rules", "Standing rules in force.", head.rules.count)
        age = (now - head.issued.instant).total_seconds()
        yield _gauge("loadlock_head_age_seconds", "How long ago the list that is served was signed.", age)

    def _expiries(self, now: datetime) -> Iterator[Metric]:
        left = GaugeMetricFamily(
            "loadlock_expiry_seconds", "How long something is valid yet.", labels=["name", "renewed_by"]
        )
        near = GaugeMetricFamily(
            "loadlock_expiry_near", "Whether something is in the last third of its life.", labels=["name", "renewed_by"]
        )
        for found in self._authority.expiries(now):
            labels = [found.name, found.renewed_by]
            left.add_metric(labels, (found.ends - now).total_seconds())
            near.add_metric(labels, found.near(now))
        yield left
        yield near
        yield from self._endings(now)

    def _endings(self, now: datetime) -> Iterator[Metric]:
        count = GaugeMetricFamily(
            "loadlock_ending", "Certifications and tokens that end soon or have ended lately.", labels=["kind"]
        )
        left = GaugeMetricFamily("loadlock_ending_seconds", "How long the first of them lasts yet.", labels=["kind"])
        with self._authority.store.read() as ledger:
            found = self._authority.endings(ledger, now)
        for kind in KINDS:
            ends = [ending.ends.instant for ending in found if ending.kind == kind]
            count.add_metric([kind], len(ends))
            if ends:
                left.add_metric([kind], (ends[0] - now).total_seconds())
        yield from (count, left)

    def _counts(self, now: datetime) -> Iterator[Metric]:
        with self._authority.store.read() as ledger:
            found = counting.counts(ledger, now)
        yield _gauge("loadlock_artifacts", "Artifacts that were admitted.", found.artifacts)
        yield _gauge("loadlock_committed_seq", "The number of the last event that is committed.", found.committed)
        yield _counter("loadlock_revocations", "Reasons for which artifacts were revoked.", found.revocations)
        yield _counter("loadlock_audit_entries", "Entries of the audit log.", found.audit)
        yield _gauge("loadlock_hosts", "Hosts that say which list they go by.", found.hosts)
        yield _gauge("loadlock_hosts_lagging", "Hosts of these that lag behind the last event.", found.lagging)
        yield _gauge("loadlock_hosts_silent", "Hosts that have not been heard of lately.", found.silent)


def _exports(workers: Sequence[ExportWorker], now: datetime) -> Iterator[Metric]:
    lag, failing, seq = (
        GaugeMetricFamily(f"loadlock_export_{name}", text, labels=["export"])
        for name, text in (
            ("lag_seconds", "For how long an export has lacked something."),
            ("failing", "Whether the last pass of an export failed."),
            ("seq", "The number of the last event on the list of an export."),
        )
    )
    passes, failures, written = (
        CounterMetricFamily(f"loadlock_export_{name}", text, labels=["export"])
        for name, text in (
            ("passes", "Passes of an export."),
            ("failures", "Passes of an export that failed."),
            ("files_written", "Files that an export has written."),
        )
    )
    for worker in workers:
        state, labels = worker.state, [worker.name]
        lag.add_metric(labels, state.lag(now).total_seconds())
        failing.add_metric(labels, bool(state.code))
        seq.add_metric(labels, state.seq)
        passes.add_metric(labels, state.passes)
        failures.add_metric(labels, state.failures)
        written.add_metric(labels, state.written)
    yield from (lag, failing, seq, passes, failures, written)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _family(name: str, text: str, labels: dict[str, str], value: float) -> Metric:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family
