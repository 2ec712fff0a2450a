"""Waiting for an answer: the dispatcher's replies for callers that are coroutines.

Owns one future per request. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gpu_worker.ipc.slots import Slot
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.recent_shapes import Shapes
from supervisor.dispatch.request import InferRequest
from supervisor.dispatch.result import Answer, InferResult


async def infer(  # noqa: PLR0913 - what `submit` takes, and who looks on
    dispatcher: Dispatcher,
    lane: Lane,
    slot: Slot,
    length: int,
    output_mask: int,
    shapes: Shapes,
    *,
    by_version: bool,
    timeout_s: float | None = None,
    queued: Callable[[InferRequest], None] | None = None,
) -> InferResult:
    """Queue a request as `Dispatcher.submit` does, and wait for its answer, which is a copy.

    `queued` is told of the request before that.

    Raises:
        RequestError: any of queue full, deadline, failure, as the tree in `errors` has it.

    """
    future: asyncio.Future[InferResult] = asyncio.get_running_loop().create_future()

    def reply(answer: Answer) -> None:
        if future.done():  # cancelled a moment ago; the caller is about to abandon the request
            return
        if isinstance(answer, InferResult):
            future.set_result(answer.copy())
        else:
            future.set_exception(answer)

    request = dispatcher.submit(
        lane, slot, length, output_mask, shapes, reply, by_version=by_version, timeout_s=timeout_s
    )
    if queued is not None:
        queued(request)
    try:
        return await future
    except asyncio.CancelledError:
        dispatcher.abandon(request)
        raise
