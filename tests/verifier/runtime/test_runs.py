"""Runs: ids, and the context that follows calls and tasks."""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading

import pytest

from verifier.runtime import Run, Switch, current
from verifier.runtime.runs import active_runs


def make(plugin_id: str = "sample-plugin") -> Run:
    return Run(plugin_id=plugin_id, artifact_digest="sha256:00", switch=Switch(plugin_id, "sha256:00"))


def test_ids() -> None:
    first, second = make(), make()
    assert re.fullmatch(r"[0-9a-f]{32}", first.run_id)
    assert first.run_id != second.run_id
    with pytest.raises(AttributeError):
        first.run_id = "0"  # type: ignore[misc]


def test_current() -> None:
    outer, inner = make("outer"), make("inner")
    assert current() is None
    with outer as run:
        assert run is outer is current()
        assert inner.call(current) is inner
        with inner:
            assert active_runs() == (outer, inner)
        assert current() is outer
    assert current() is None


def test_failing_call_ends_its_run() -> None:
    def fail(number: int, *, by: int) -> float:
        return number / by

    with pytest.raises(ZeroDivisionError):
        make().call(fail, 1, by=0)
    assert current() is None


def test_one_run_in_two_threads_and_reentered() -> None:
    run, seen = make(), []
    barrier = threading.Barrier(2)

    def work() -> None:
        with run:
            barrier.wait()
            with run:
                seen.append(current())
            barrier.wait()
        seen.append(current())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count(run) == seen.count(None) == 2


def test_tasks_keep_their_own_run() -> None:
    async def work(run: Run) -> bool:
        with run:
            await asyncio.sleep(0)
            return await asyncio.create_task(inside()) is run

    async def inside() -> Run | None:
        await asyncio.sleep(0)
        return current()

    async def main() -> list[bool]:
        return list(await asyncio.gather(*(work(make()) for _ in range(5))))

    assert asyncio.run(main()) == [True] * 5


def test_left_in_another_context() -> None:
    run, other = make(), make("other")
    with other:
        contextvars.copy_context().run(run.__enter__)
        run.__exit__()
        assert current() is other


def test_left_out_of_order() -> None:
    first, second = make("first"), make("second")
    first.__enter__()
    with second:
        first.__exit__()
        assert active_runs() == (second,)


def test_copied_context() -> None:
    run = make()
    with run:
        context = contextvars.copy_context()
    assert context.run(current) is run
