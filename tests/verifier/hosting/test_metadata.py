"""Entry points in the shape of ``importlib.metadata``, of verified plugins only."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import pickle
from typing import Any

import pytest

from tests.hosts import HostedDeployment, code_of
from tests.verifier.hosting.conftest import OpenPlugins
from verifier.errors import PluginRevoked
from verifier.hosting import Plugins
from verifier.hosting.metadata import VerifiedEntryPoint, entry_points
from verifier.runtime import current

CODE = """
import logging

class Exporter:
    pass

def hello(name: str = "you") -> str:
    return f"hello {name}"

def steps():
    got = yield 1
    yield got

async def later():
    import asyncio
    await asyncio.sleep(0)
    from verifier.runtime import current
    return current().plugin_id

async def rows():
    from verifier.runtime import current
    try:
        while True:
            try:
                got = yield current().plugin_id
            except ValueError as error:
                got = yield str(error)
    finally:
        closed.append(current().plugin_id)

closed = []
"""
NAMES = ("hello", "Exporter", "steps", "later", "rows", "nothing")


@pytest.fixture
def plugins(hosted: HostedDeployment, open_plugins: OpenPlugins) -> Plugins:
    points = {"exporters": {name.lower(): f"sample_plugin:{name}" for name in NAMES}}
    hosted.plugin({"sample_plugin/__init__.py": CODE}, entry_points=points)
    return open_plugins()


def point(plugins: Plugins, name: str) -> VerifiedEntryPoint:
    (found,) = entry_points(plugins, group="exporters", name=name)
    assert isinstance(found, VerifiedEntryPoint)
    return found


def test_they_are_what_a_host_expects(plugins: Plugins) -> None:
    found = entry_points(plugins, group="exporters")
    assert isinstance(found, importlib.metadata.EntryPoints)
    assert found.names == {name.lower() for name in NAMES}
    one = found["hello"]
    assert (one.group, one.name, one.value, one.module, one.attr) == (
        "exporters", "hello", "sample_plugin:hello", "sample_plugin", "hello",
    )  # fmt: skip
    assert one.dist is not None
    assert one.dist.metadata["Name"] == "sample-plugin"
    assert list(entry_points(plugins, group="pytest11")) == []


def test_a_function_is_called_in_a_run_and_looks_as_before(plugins: Plugins) -> None:
    hello = point(plugins, "hello").load()
    assert hello("Ada") == "hello Ada"
    assert hello.__name__ == "hello"
    assert list(inspect.signature(hello).parameters) == ["name"]
    assert current() is None


def test_a_class_is_handed_out_as_it_is(plugins: Plugins) -> None:
    exporter = point(plugins, "exporter").load()
    assert exporter is plugins.loaded[0].module("sample_plugin").Exporter


def test_a_generator_and_a_coroutine_are_within_the_run(plugins: Plugins) -> None:
    steps = point(plugins, "steps").load()()
    assert next(steps) == 1
    assert current() is None
    assert steps.send("got") == "got"
    steps.close()
    later: Any = point(plugins, "later").load()
    assert asyncio.run(later()) == "sample_plugin"


def test_an_asynchronous_generator_is_within_the_run_step_by_step(plugins: Plugins) -> None:
    async def use() -> None:
        rows = point(plugins, "rows").load()()
        assert await anext(rows) == "sample_plugin"
        assert current() is None
        assert await rows.asend("more") == "sample_plugin"
        assert await rows.athrow(ValueError("thrown")) == "thrown"
        await rows.aclose()
        assert plugins.loaded[0].module("sample_plugin").closed == ["sample_plugin"]
        assert [row async for row in rows] == []

    asyncio.run(use())


def test_a_generator_makes_no_further_step_after_a_revocation(plugins: Plugins) -> None:
    steps, rows = (point(plugins, name).load()() for name in ("steps", "rows"))

    async def use() -> None:
        await anext(rows)
        next(steps)
        plugins.loaded[0].revoke("for this test")
        with pytest.raises(PluginRevoked):
            await anext(rows)
        with pytest.raises(PluginRevoked):
            next(steps)

    asyncio.run(use())


def test_after_a_revocation_nothing_is_loaded_or_called(plugins: Plugins) -> None:
    held, hello = point(plugins, "exporter"), point(plugins, "hello").load()
    plugins.loaded[0].revoke("for this test")
    with pytest.raises(PluginRevoked):
        held.load()
    with pytest.raises(PluginRevoked):
        hello()
    assert list(entry_points(plugins, group="exporters")) == []


def test_what_leads_nowhere_is_refused(plugins: Plugins) -> None:
    assert code_of(point(plugins, "nothing").load) == "manifest.entry-point"


def test_it_is_not_carried_to_another_process(plugins: Plugins) -> None:
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        pickle.dumps(point(plugins, "hello"))
