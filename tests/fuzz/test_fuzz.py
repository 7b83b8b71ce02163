"""No bytes bring a parser to anything but a value or a refusal with words: a short search, the same in each run.

``python -m tests.fuzz`` searches for longer (README.md).
"""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutants import mutants
from tests.fuzz.targets import CORPUS, TARGETS, feed, seeds_of
from verifier import formats

SHORT = settings(
    deadline=None, derandomize=True, database=None, max_examples=120, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_target_starts_from_what_it_accepts(target: str) -> None:
    # From inputs that are refused at their first byte a search would find nothing.
    assert any(feed(target, seed) is not None for seed in seeds_of(target))


def test_every_seed_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)


def test_every_parser_of_a_format_is_a_target() -> None:
    modules = [
        importlib.import_module(f"verifier.formats.{found.name}") for found in pkgutil.iter_modules(formats.__path__)
    ]
    parsers = {
        function
        for module in modules
        for name, function in vars(module).items()
        if name.startswith("parse_") and function.__module__ == module.__name__
    }
    assert len(parsers) > 20
    assert parsers - set(TARGETS.values()) == set()


@pytest.mark.parametrize("target", sorted(TARGETS))
@SHORT
@given(st.data())
def test_a_value_or_a_refusal(target: str, data: st.DataObject) -> None:
    feed(target, data.draw(mutants(seeds_of(target))))
