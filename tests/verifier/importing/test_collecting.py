"""The collector while modules are imported, and what is left of its setting afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.verifier.importing.conftest import Make
from verifier.errors import PluginFailed
from verifier.importing.collecting import MANY, seldom

CHOSEN = (701, 11, 9)


@pytest.fixture(autouse=True)
def chosen() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*CHOSEN)
    yield
    gc.set_threshold(*before)


def test_inside_it_looks_seldom_and_afterwards_as_before() -> None:
    with seldom():
        assert gc.get_threshold() == (MANY, *CHOSEN[1:])
        with seldom():
            assert gc.get_threshold() == (MANY, *CHOSEN[1:])
        assert gc.get_threshold() == (MANY, *CHOSEN[1:])
    assert gc.get_threshold() == CHOSEN


@pytest.mark.parametrize("setting", [(0, 11, 9), (MANY, 11, 9), (MANY + 1, 11, 9)])
def test_what_the_host_chose_stays(setting: tuple[int, int, int]) -> None:
    gc.set_threshold(*setting)
    with seldom():
        assert gc.get_threshold() == setting
    assert gc.get_threshold() == setting


@pytest.mark.parametrize("setting", [(0, 11, 9), (500, 11, 9), (MANY, 11, 8)])
def test_what_is_chosen_inside_stays(setting: tuple[int, int, int]) -> None:
    with seldom():
        gc.set_threshold(*setting)
    assert gc.get_threshold() == setting


def test_a_plugin_is_imported_inside(made: Make) -> None:
    registered = made({"sample_plugin/__init__.py": "import gc\nSEEN = gc.get_threshold()\n"})
    seen = registered.import_module("sample_plugin").SEEN
    assert seen == (MANY, *CHOSEN[1:])
    assert gc.get_threshold() == CHOSEN


def test_after_an_import_that_fails(made: Make) -> None:
    with pytest.raises(PluginFailed):
        made({"sample_plugin/__init__.py": "raise ValueError"}).import_module("sample_plugin")
    assert gc.get_threshold() == CHOSEN
