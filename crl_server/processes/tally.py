"""The numbers of a team's workers, put together: whichever of them is asked tells of all.

Each worker writes its own numbers on its sheet of the board every now and then. What a worker counts by itself carries
its number as a label: a worker that has died and was replaced counts from zero, as Prometheus expects of a series.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, samples
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from crl_server.background import Background
from crl_server.processes.board import Board
from verifier.formats.tables import reader

EVERY: Final = 1.0
"""How often, in seconds, a worker writes its numbers down."""
LABEL: Final = "worker"
ALONE: Final = ("loadlock_export_", "loadlock_webhook_")
"""How the names of families begin that only one worker tells of: the one that does the chores."""

log = logging.getLogger("crl_server")


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One number."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one name."""

    name: str
    text: str
    kind: str
    samples: tuple[Sample, ...]


def written(metrics: Iterable[Metric]) -> bytes:
    """What a worker writes down."""
    return msgspec.json.encode(
        [
            Family(
                name=found.name,
                text=found.documentation,
                kind=found.type,
                samples=tuple(_sample(sample) for sample in found.samples),
            )
            for found in metrics
        ]
    )


def _sample(given: samples.Sample) -> Sample:
    labels = {name: str(value) for name, value in given.labels.items()}  # names of ours are strings of their own kinds
    return Sample(name=given.name, labels=labels, value=float(given.value))


class Together(Collector):
    """What all workers count, and what any of them can tell of the deployment.

    Args:
        own: what this worker counts by itself.
        common: what is the same whichever worker tells it.
        board: where the others write down what they count.
    """

    def __init__(self, own: CollectorRegistry, common: CollectorRegistry, board: Board) -> None:
        self._own, self._common, self._board = own, common, board

    def collect(self) -> Iterator[Metric]:
        """Every family once, with the numbers of each worker."""
        told = {self._board.own: written(self._own.collect()), **self._board.others()}
        found: dict[str, Metric] = {}
        for number, data in sorted(told.items()):
            for family in reader(list[Family]).decode(data):
                metric = found.setdefault(family.name, Metric(family.name, family.text, family.kind))
                more = {} if family.name.startswith(ALONE) else {LABEL: str(number)}
                for sample in family.samples:
                    metric.add_sample(sample.name, sample.labels | more, sample.value)
        yield from found.values()
        yield from self._common.collect()


class Telling(Background):
    """A thread that writes a worker's numbers on the board."""

    def __init__(self, own: CollectorRegistry, board: Board) -> None:
        super().__init__("telling")
        self._own, self._board = own, board

    def _run(self) -> None:
        while True:
            try:
                self._board.write(written(self._own.collect()))
            except Exception:
                # Whatever it was, the next time may be better; the service does not depend on its numbers.
                log.exception("the numbers of this worker could not be written down")
            if self._end.wait(EVERY):
                return
