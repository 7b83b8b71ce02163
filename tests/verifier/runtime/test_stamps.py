"""Every log record says whose it is, whatever the plugin says of it."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.verifier.runtime.observing import observing
from tests.wheels import build_wheel
from verifier.clock import utc_now
from verifier.importing import Registration, register
from verifier.runtime import Attribution, Run, Switch, attribute, observation, stamps
from verifier.wheels.wheel import read_wheel

SOURCE = """
import asyncio, logging, threading
logger = logging.getLogger("plugin")

def work(text="work", **extra):
    logger.warning(text, extra=extra)

def in_thread():
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

async def in_task():
    await asyncio.create_task(later())

async def later():
    work()

def own_record():
    record = logging.makeLogRecord({"name": "plugin", "levelno": 40, "msg": "own", "plugin_id": "host", "run_id": "f"})
    logger.handle(record)

def forging_filter(record):
    record.plugin_id = record.run_id = record.artifact_digest = "forged"
    return True

def through(function):
    return function()

def lying_globals():
    globals().update(__name__="host", __file__="/host/app.py", __spec__=None, __loader__=None)
    work()

class Finalised:
    def __del__(self):
        work("finalised")
"""
Loaded = tuple[Registration, Run]


class Seen(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def only(self) -> Attribution:
        [record] = self.records
        return Attribution(*(record.__dict__[name] for name in stamps.FIELDS))


def load(name: str) -> Loaded:
    wheel = build_wheel({f"{name}.py": SOURCE}, name=name)
    registration = register(read_wheel(wheel.data, wheel.file_name), plugin_id=f"{name}-id")
    run = Run(
        plugin_id=registration.owner.plugin_id,
        artifact_digest=registration.snapshot.digest,
        switch=Switch(registration.owner.plugin_id, registration.snapshot.digest),
    )
    return registration, run


@pytest.fixture
def seen() -> Iterator[Seen]:
    handler, root = Seen(), logging.getLogger()
    root.addHandler(handler)
    observation.uninstall()  # which carries runs into threads
    stamps.install()
    yield handler
    stamps.uninstall()
    root.removeHandler(handler)


@pytest.fixture
def first() -> Iterator[Loaded]:
    loaded = load("sample_first")
    yield loaded
    loaded[0].unregister()


@pytest.fixture
def second() -> Iterator[Loaded]:
    loaded = load("sample_second")
    yield loaded
    loaded[0].unregister()


def of(loaded: Loaded, *, in_run: bool = True) -> Attribution:
    registration, run = loaded
    return Attribution(registration.owner.plugin_id, registration.snapshot.digest, run.run_id if in_run else "")


def test_forged_extra_is_overwritten(first: Loaded, seen: Seen) -> None:
    registration, run = first
    plugin = registration.import_module("sample_first")
    run.call(plugin.work, plugin_id="host", artifact_digest="sha256:00", run_id="forged", other="kept")
    assert seen.only() == of(first)
    assert seen.records[0].other == "kept"  # type: ignore[attr-defined]


def test_forged_record_is_overwritten(first: Loaded, seen: Seen) -> None:
    registration, run = first
    run.call(registration.import_module("sample_first").own_record)
    assert seen.only() == of(first)


def test_forging_filter_is_overwritten(first: Loaded, seen: Seen) -> None:
    registration, run = first
    plugin = registration.import_module("sample_first")
    plugin.logger.addFilter(plugin.forging_filter)
    try:
        run.call(plugin.work)
    finally:
        plugin.logger.removeFilter(plugin.forging_filter)
    assert seen.only() == of(first)


def test_lying_globals(first: Loaded, seen: Seen) -> None:
    registration, run = first
    run.call(registration.import_module("sample_first").lying_globals)
    assert seen.only() == of(first)


def test_outside_any_run(first: Loaded, seen: Seen) -> None:
    first[0].import_module("sample_first").work()
    assert seen.only() == of(first, in_run=False)


def test_thread(first: Loaded, seen: Seen) -> None:
    registration, run = first
    run.call(registration.import_module("sample_first").in_thread)
    assert seen.only() == of(first, in_run=False)


def test_pool_of_the_host(first: Loaded, seen: Seen) -> None:
    registration, run = first
    with ThreadPoolExecutor(1) as pool, run:
        pool.submit(registration.import_module("sample_first").work).result()
    assert seen.only() == of(first, in_run=False)


def test_threads_and_pools_while_observed(first: Loaded, seen: Seen) -> None:
    registration, run = first
    plugin = registration.import_module("sample_first")
    with observing():
        observation.log_of_run(utc_now)  # as a gate that observes makes it for each run
        with run, ThreadPoolExecutor(1) as pool:
            plugin.in_thread()
            pool.submit(plugin.work).result()
    assert {record.run_id for record in seen.records} == {run.run_id}  # type: ignore[attr-defined]
    assert len(seen.records) == 2


def test_task(first: Loaded, seen: Seen) -> None:
    registration, run = first

    async def main() -> None:
        with run:
            await registration.import_module("sample_first").in_task()

    asyncio.run(main())
    assert seen.only() == of(first)


def test_library_called_by_the_plugin(first: Loaded, seen: Seen) -> None:
    registration, run = first
    run.call(registration.import_module("sample_first").through, lambda: logging.getLogger("library").warning("x"))
    assert seen.only() == of(first)


def test_host_code_within_a_run(first: Loaded, seen: Seen) -> None:
    first[1].call(logging.getLogger("library").warning, "x")
    assert seen.only() == of(first)


def test_frames_outweigh_the_run(first: Loaded, second: Loaded, seen: Seen) -> None:
    second[1].call(first[0].import_module("sample_first").work)
    assert seen.only() == of(first, in_run=False)


def test_callback_into_the_outer_run(first: Loaded, second: Loaded, seen: Seen) -> None:
    outer, inner = first[0].import_module("sample_first"), second[0].import_module("sample_second")
    with first[1], second[1]:
        inner.through(outer.work)
    assert seen.only() == of(first)


def test_finaliser_in_the_middle_of_another_plugin(first: Loaded, second: Loaded, seen: Seen) -> None:
    doomed = [first[0].import_module("sample_first").Finalised()]

    def free() -> None:
        doomed.clear()
        gc.collect()

    second[1].call(second[0].import_module("sample_second").through, free)
    assert seen.only() == of(first, in_run=False)


def test_records_of_the_host(seen: Seen) -> None:
    logging.getLogger("host").warning("plain")
    assert seen.only() == ("", "", "")
    logging.getLogger("host").warning("own fields", extra={"run_id": "nightly"})
    assert seen.records[1].run_id == "nightly"  # type: ignore[attr-defined]
    assert attribute() is None


def test_in_a_format(first: Loaded, seen: Seen) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(plugin_id)s|%(run_id)s|%(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        first[1].call(first[0].import_module("sample_first").work)
        logging.getLogger("host").warning("plain")
    finally:
        logging.getLogger().removeHandler(handler)
    assert stream.getvalue() == f"sample_first-id|{first[1].run_id}|work\n||plain\n"


def test_installed_twice_and_taken_back(seen: Seen) -> None:
    replaced = logging.Logger.callHandlers
    stamps.install()
    assert logging.Logger.callHandlers is replaced
    stamps.uninstall()
    assert logging.Logger.callHandlers is not replaced
    logging.getLogger("host").warning("plain")
    assert not hasattr(seen.records[0], "plugin_id")
    stamps.uninstall()
    stamps.install()
    logging.getLogger("host").warning("plain")
    assert hasattr(seen.records[1], "plugin_id")


def test_taken_back_below_another_patch(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    below = logging.Logger.callHandlers

    def above(self: logging.Logger, record: logging.LogRecord) -> None:
        below(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(logging.Logger, "callHandlers", above)
        stamps.uninstall()
        logging.getLogger("host").warning("plain")
        assert not hasattr(seen.records[0], "plugin_id")
        stamps.install()
        logging.getLogger("host").warning("plain")
        assert hasattr(seen.records[1], "plugin_id")


def test_many_threads_at_once(first: Loaded, second: Loaded, seen: Seen) -> None:
    plugins = {
        loaded[1]: loaded[0].import_module(name)
        for loaded, name in ((first, "sample_first"), (second, "sample_second"))
    }

    def work(run: Run) -> None:
        for _ in range(50):
            run.call(plugins[run].work, run.run_id)

    threads = [threading.Thread(target=work, args=(run,)) for run in plugins for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen.records) == 400
    assert all(record.getMessage() == record.run_id for record in seen.records)  # type: ignore[attr-defined]
