"""Whatever the requirements among wheels: a set is accepted exactly when all that is reached is locked or provided."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from tests.simulator import Simulator
from tests.verifier.test_dependencies import locking
from verifier.errors import Refused
from verifier.judging.dependencies import check_dependencies
from verifier.wheels.wheel import Snapshot, read_wheel

SIM = Simulator()
NAMES = ("a", "b", "c", "d")
EXTRAS = ("", "x", "y")

Asked = tuple[str, str]
"""A wheel, and the extra that it is asked for with; "" for none."""
Needs = dict[Asked, frozenset[Asked]]

asked = st.tuples(st.sampled_from(NAMES), st.sampled_from(EXTRAS))
needs = st.dictionaries(asked, st.frozensets(asked, max_size=3), max_size=8)


def _text(wanted: Asked, of: str) -> str:
    name, extra = wanted
    return f"{name}{f'[{extra}]' if extra else ''}{f'; extra == {of!r}' if of else ''}"


@cache
def _wheel(name: str, requires: tuple[str, ...]) -> Snapshot:
    wheel = SIM.wheel(name, requires=requires)
    return read_wheel(wheel.data, wheel.file_name)


def _requires(name: str, graph: Needs) -> tuple[str, ...]:
    return tuple(sorted(_text(wanted, extra) for extra in EXTRAS for wanted in graph.get((name, extra), ())))


def _reached(first: frozenset[Asked], graph: Needs, locked: frozenset[str]) -> set[str]:
    """The names that are reached, by the words of PEP 508: an extra adds to what the wheel needs anyway."""
    reached: set[Asked] = set()
    waiting = set(first)
    while waiting:
        name, extra = waiting.pop()
        reached.add((name, extra))
        if name in locked:
            waiting |= ({(name, "")} | graph.get((name, extra), frozenset())) - reached
    return {name for name, _ in reached}


@given(
    first=st.frozensets(asked, max_size=3),
    graph=needs,
    locked=st.frozensets(st.sampled_from(NAMES)),
    provided=st.frozensets(st.sampled_from(NAMES)),
)
def test_a_set_is_complete_exactly_when_all_that_is_reached_is_there(
    first: frozenset[Asked], graph: Needs, locked: frozenset[str], provided: frozenset[str]
) -> None:
    host = provided - locked
    plugin = SIM.wheel(requires=sorted(_text(wanted, "") for wanted in first))
    wheels = {name: SIM.wheel(name, requires=_requires(name, graph)) for name in locked}
    manifest = locking(plugin, *wheels.values(), host_provided=sorted(host))
    snapshots = [_wheel(name, _requires(name, graph)) for name in sorted(locked)]
    complete = _reached(first, graph, locked) <= locked | host
    try:
        check_dependencies(
            manifest, read_wheel(plugin.data, plugin.file_name), dict.fromkeys(host, "1.0").get, snapshots
        )
    except Refused as refusal:
        assert refusal.code == "dependency.undeclared"
        assert not complete
    else:
        assert complete
