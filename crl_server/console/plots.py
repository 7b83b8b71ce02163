"""Plots as plain geometry: numbers in, places on a drawing out. Templates draw them, beside a table of the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil, log10
from typing import NamedTuple

WIDTH, HEIGHT = 960, 180
"""Size of a drawing, in its own units."""
LEFT, RIGHT, TOP, BOTTOM = 40, 24, 10, 24
"""What the axes take."""
TICKS = 4


class Tick(NamedTuple):
    """A mark of an axis: where, and what stands beside it."""

    place: float
    label: str


class Bar(NamedTuple):
    """One bar, and what it says."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: int


class Bars(NamedTuple):
    """Bars over time."""

    bars: Sequence[Bar]
    across: Sequence[Tick]
    up: Sequence[Tick]
    total: int


class Line(NamedTuple):
    """A line that goes in steps, the area below it, and what its points say."""

    path: str
    area: str
    across: Sequence[Tick]
    up: Sequence[Tick]


class Point(NamedTuple):
    """A share at a moment, between 0 and 1."""

    at: datetime
    share: float


def bars(values: Sequence[tuple[str, int]], *, every: int) -> Bars:
    """Bars of counts.

    Args:
        values: label and count of each bar, in order; at least one.
        every: how many bars lie between two labels of the axis.
    """
    top = nice_top(max(count for _, count in values))
    step = (WIDTH - LEFT - RIGHT) / len(values)
    drawn = [
        Bar(round(LEFT + number * step + step * 0.15, 1), _height_of(count / top), round(step * 0.7, 1),
            round(_floor() - _height_of(count / top), 1), label, count)
        for number, (label, count) in enumerate(values)
    ]  # fmt: skip
    across = [
        Tick(round(LEFT + (number + 0.5) * step, 1), values[number][0]) for number in range(0, len(values), every)
    ]
    up = [Tick(_height_of(mark / top), str(mark)) for mark in range(0, top + 1, max(1, top // TICKS))]
    return Bars(drawn, across, up, sum(count for _, count in values))


def line(points: Sequence[Point], begin: datetime, end: datetime) -> Line:
    """A share over time, which stays what it was until the next point.

    Args:
        points: in order of time, at least one; the last one holds until ``end``.
        begin: where the drawing begins.
        end: where it ends.
    """

    def across(at: datetime) -> float:
        part = min(max((at - begin) / (end - begin), 0.0), 1.0)
        return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)

    begins = f"M{across(points[0].at)} {_height_of(points[0].share)}"
    path = (
        begins + "".join(f"H{across(point.at)}V{_height_of(point.share)}" for point in points[1:]) + f"H{across(end)}"
    )
    area = f"{path}V{_floor()}H{across(points[0].at)}Z"
    quarter = (end - begin) / 4
    ticks = [Tick(across(begin + number * quarter), f"{begin + number * quarter:%H:%M}") for number in range(5)]
    return Line(path, area, ticks, [Tick(_height_of(part / 4), f"{part * 25} %") for part in range(5)])


def days(now: datetime, count: int) -> Sequence[str]:
    """The last days up to ``now``, as ``YYYY-MM-DD``, in order."""
    return [f"{now - timedelta(days=number):%Y-%m-%d}" for number in reversed(range(count))]


def nice_top(value: int) -> int:
    """A number at or above ``value`` that four marks share evenly."""
    if value <= TICKS:
        return TICKS
    size: int = 10 ** int(log10(value))
    for factor in (1, 2, 4, 8, 10):
        top = max(factor * size, TICKS)
        if top >= value:
            return ceil(top / TICKS) * TICKS
    raise AssertionError("ten times its power of ten is above every number")


def _height_of(share: float) -> float:
    return round(TOP + (1 - share) * (HEIGHT - TOP - BOTTOM), 1)


def _floor() -> float:
    return HEIGHT - BOTTOM
