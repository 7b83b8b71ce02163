"""The collector while modules are imported, and what is left of its setting afterwards."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tests.verifier.importing.conftest import Make
from verifier import collecting
from verifier.collecting import MANY, seldom
from verifier.errors import PluginFailed

CHOSEN = (701, 11, 9)


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(collecting, "_IS_ALLOWED", True)
    before = gc.get_threshold()
    gc.set_threshold(*CHOSEN)
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class Circle:
    """Something that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def is_old(wanted: object) -> bool:
    """Whether something is looked at only when all is."""
    return any(found is wanted for found in gc.get_objects(generation=2))


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


def test_what_was_made_inside_is_old_afterwards() -> None:
    with seldom():
        made = Circle()
        assert not is_old(made)
    assert is_old(made)


def test_what_is_left_of_it_is_found_when_all_is_looked_at() -> None:
    with seldom():
        made = Circle()
    left = weakref.ref(made)
    del made
    gc.collect(1)
    assert left() is not None
    gc.collect()
    assert left() is None


def test_what_the_host_has_frozen_stays_frozen() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with seldom():
        made = Circle()
    assert gc.get_freeze_count() > frozen // 2  # some of it was freed in the ordinary way
    assert not is_old(made)
    assert gc.get_threshold() == CHOSEN


def test_what_a_plugin_freezes_stays_frozen(made: Make) -> None:
    made({"sample_plugin/__init__.py": "import gc\ngc.freeze()\n"}).import_module("sample_plugin")
    assert gc.get_freeze_count()


@pytest.mark.parametrize("setting", [(0, 11, 9), (MANY, 11, 9)])
def test_where_the_host_chose_nothing_is_made_old(setting: tuple[int, int, int]) -> None:
    gc.set_threshold(*setting)
    with seldom():
        made = Circle()
    assert not is_old(made)
