"""A plugin's functions, each behind its switch and inside a run, for hosts that call what they are given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from types import FunctionType
from typing import Any

from verifier.plugin import Plugin
from verifier.runtime import Run, current


def guarded(plugin: Plugin, found: Any) -> Any:
    """A plain function, so that each call of it is refused once the plugin may no longer run, and belongs to a run.

    Whatever else an entry point leads to (a class, a module, an instance) is handed out as it is: the host takes it
    apart, and a stand-in would not be what it looks for.
    """
    return guarded_call(plugin, found) if isinstance(found, FunctionType) else found


def guarded_call(plugin: Plugin, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for any callable. A generator's steps, asynchronous or not, and a coroutine's are within the run too."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        run = _run_of(plugin)
        result = run.call(function, *args, **kwargs)
        if inspect.isgenerator(result):
            return _steps(run, result)
        if inspect.isasyncgen(result):
            return _async_steps(run, result)
        if inspect.iscoroutine(result):
            return _awaited(run, result)
        return result

    return call


def _run_of(plugin: Plugin) -> Run:
    """The run that is under way, if it is this plugin's; else a new one."""
    active = current()
    if active is not None and active.artifact_digest == plugin.facts.artifact_digest:
        return active
    return plugin.run()


def _steps(run: Run, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Take each step of a generator within the run, and none of what its caller does in between."""
    step: Callable[[Any], Any] = generator.send
    value: Any = None
    while True:
        try:
            produced = run.call(step, value)
        except StopIteration as stop:
            return stop.value
        try:
            value, step = (yield produced), generator.send
        except BaseException as error:
            value, step = error, generator.throw


async def _async_steps(run: Run, generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """The same of an asynchronous one."""
    step: Callable[[Any], Any] = generator.asend
    value: Any = None
    while True:
        try:
            with run:
                produced = await step(value)
        except StopAsyncIteration:
            return
        try:
            value, step = (yield produced), generator.asend
        except BaseException as error:
            value, step = error, generator.athrow


async def _awaited(run: Run, coroutine: Any) -> Any:
    with run:
        return await coroutine
