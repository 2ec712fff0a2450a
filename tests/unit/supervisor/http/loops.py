"""Loops that tests of connections run on, and waiting on them for a state."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop


async def until(true: Callable[[], object]) -> None:
    """Wait for a state."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - any state, whoever changes it
            await asyncio.sleep(0)


def run(
    work: Coroutine[Any, Any, None],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> None:
    """Run on the loop that the server runs on."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(work)


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on uvloop, which the server runs on, and on the standard loop."""

    @functools.wraps(test)
    def both(loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        run(test(**arguments), loop_factory)

    signature = inspect.signature(test)
    own = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    both.__signature__ = signature.replace(  # type: ignore[attr-defined]  # pytest reads it
        parameters=[*signature.parameters.values(), own], return_annotation=None
    )
    factories = [uvloop.new_event_loop, asyncio.new_event_loop]
    mark = pytest.mark.parametrize("loop_factory", factories, ids=["uvloop", "asyncio"])
    marked: Callable[..., None] = mark(both)
    return marked
