"""The readers, against a client that answers from memory."""

import asyncio

import aiohttp
import numpy as np
import pytest

from supervisor.demo.client import ModelClient
from supervisor.demo.ctc import CtcDecoder
from supervisor.demo.load import Load
from supervisor.demo.rendering import render
from supervisor.demo.tally import Phase, Tally
from supervisor.demo.wire import Answer, AnswerError, EncodedRequest, Signature

LINES = [render("a"), render("b")]


class ScriptedClient(ModelClient):
    """Gives the next of its answers, or raises it; the last one over and over."""

    def __init__(self, *script: Answer | Exception) -> None:
        self._script = list(script)

    async def infer(self, signature: Signature, request: EncodedRequest) -> Answer:
        await asyncio.sleep(0)
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(step, Exception):
            raise step
        return step


def answer(version: str, generation: int, best: int = 1) -> Answer:
    return Answer(version, generation, np.eye(4, dtype=np.float32)[[best]][np.newaxis])


def load(tally: Tally, *script: Answer | Exception) -> Load:
    decoder = CtcDecoder(["a", "b"])
    return Load(ScriptedClient(*script), Signature("x", "y"), decoder, LINES, tally)


async def test_each_line_is_read_once_and_compared() -> None:
    tally = Tally()
    await load(tally, answer("v1", 1, best=1), answer("v1", 1, best=1)).read_each_once()
    assert (tally.requests, tally.right) == (2, 1)
    assert tally.misread == {("b", "a"): 1}
    assert len(tally.latencies_ms[Phase.SETTLING]) == 2


@pytest.mark.parametrize(
    "error",
    [
        AnswerError("status 503: busy"),
        aiohttp.ServerDisconnectedError(),
        TimeoutError(),
    ],
)
async def test_errors_are_counted_and_do_not_end_the_reading(error: Exception) -> None:
    tally = Tally()
    await load(tally, error, answer("v1", 1, best=2)).read_each_once()
    assert (tally.requests, tally.failed, tally.right) == (2, 1, 1)


async def test_scores_of_a_wrong_shape_are_a_failure() -> None:
    tally = Tally()
    wrong = Answer("v1", 1, np.zeros((1, 2, 9), dtype=np.float32))
    await load(tally, wrong).read_each_once()
    assert tally.failed == 2


async def test_a_generation_that_goes_back_is_noticed() -> None:
    tally = Tally()
    await load(tally, answer("v2", 2), answer("v1", 1)).read_each_once()
    assert tally.order.violations == 1


async def test_readers_go_on_until_they_are_stopped() -> None:
    tally = Tally()
    readers = load(tally, answer("v1", 1), answer("v2", 2))
    readers.phase = Phase.WITH_RELOADS
    running = asyncio.ensure_future(readers.run(readers=3, seed=0))
    first_ms = await readers.first_answer_ms("v2", within_s=10)
    readers.stop()
    await asyncio.wait_for(running, 10)
    assert first_ms == tally.first_answers_ms["v2"]
    assert tally.requests == len(tally.latencies_ms[Phase.WITH_RELOADS])


async def test_no_first_answer_in_time_is_none() -> None:
    assert await load(Tally(), answer("v1", 1)).first_answer_ms("v9", within_s=0.01) is None
