"""Builds twice: once as it is recorded, once under other conditions. Only the same bytes pass.

What the second build finds otherwise: the path (with a space and a letter beyond ASCII), time zone, locale, hash seed,
home directory, temporary directory, and the times of the source's files. Umask and file modes stay fixed: they are
inputs, and recorded as such. The clock is not turned; SOURCE_DATE_EPOCH is what a build may know of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice

from attestor.building.build import PLAIN, BuildResult, Conditions, Made, workshop
from attestor.building.compare import Candidate
from attestor.building.diffoscope import compare_deeply, report
from attestor.building.source import Source
from attestor.building.wheelhouse import LockedWheel, Wheelhouse
from verifier.errors import Refused

#: What is varied, in words; the provenance says how many these are.
VARIED = (
    "a path with a space and a letter beyond ASCII",
    "time zone",
    "locale",
    "hash seed",
    "home directory",
    "temporary directory",
    "times of the source's files",
)
#: The conditions of the second build. The time zone is spelt out, so that no time zone database is needed.
OTHERWISE = Conditions(
    directory="build once more, é",
    variables={"LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "2718281828", "TZ": "AWAY-13:45"},
    spread=61,
)
#: How many lines of explanation an error carries.
MAX_LINES = 100


def build_twice(
    source: Source,
    house: Wheelhouse,
    *,
    now: datetime,
    config_settings: Mapping[str, str] | None = None,
    locked: Sequence[LockedWheel] | None = None,
    sdist: bool = False,
) -> BuildResult:
    """Build the wheel of ``source`` as :func:`attestor.building.build.build` does, and once more under other
    conditions.

    Both builds use one environment and run side by side.

    Args:
        source: as there.
        house: as there.
        now: as there.
        config_settings: as there.
        locked: exactly the wheels of the environment; by default the build requirements are resolved.
        sdist: build the sdist too, twice as well. Few backends can make the same one twice: when it differs, that is
            recorded, and nothing refused.

    Returns:
        The record of the plain build.

    Raises:
        Refused: ``build.not-reproducible`` with every difference; else as :func:`attestor.building.build.build`.
        Unreachable: ``unreachable.index``.
    """
    prepared = workshop(source, house, config_settings=config_settings, locked=locked, sdist=sdist)
    with prepared as shop, ThreadPoolExecutor(1) as pool:
        other = pool.submit(shop.build, OTHERWISE)
        made = shop.build(PLAIN)
        try:
            again = other.result()
        except Refused as error:
            if error.code != "build.failed":
                raise
            raise _not_reproducible("the build succeeds, and fails under other conditions", error.found) from error
        _require_same(made, again)
        beside = shop.sdist(PLAIN, OTHERWISE) if sdist else None
    return shop.result(made, now=now, varied=VARIED, sdist=beside)


def _require_same(made: Made, again: Made) -> None:
    if again.file_name != made.file_name:
        raise _not_reproducible(
            "two builds of the same source give wheels of different names", f"{made.file_name!a}, {again.file_name!a}"
        )
    if again.wheel != made.wheel:
        raise _not_reproducible("two builds of the same source give different wheels", _explain(made, again))


def _explain(made: Made, again: Made) -> str:
    first = Candidate("the first wheel", made.file_name, made.wheel)
    second = Candidate("the second wheel", again.file_name, again.wheel)
    try:
        comparison = compare_deeply(first, second)
    except Refused as error:
        what = f"wheels of {len(made.wheel)} and {len(again.wheel)} bytes; {error.what}"
        return "\n".join([what, *report(first, second)])
    lines = list(islice(comparison.lines(), MAX_LINES + 1))
    if len(lines) > MAX_LINES:
        lines[-1] = "…"
    return "\n".join([f"{comparison.verdict}:", *lines])


def _not_reproducible(what: str, found: str) -> Refused:
    return Refused(
        "build.not-reproducible", what, found=found, expected=f"the same bytes whatever the {', '.join(VARIED[1:])}"
    )
