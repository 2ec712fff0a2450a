"""A closed loop of readers: each sends a line, waits for the answer, sends the next.

Owns the reader tasks and the phase that their requests count for. Never stops because of a
failed request, and never sends one twice.
Runs in the process of `hotpaddle demo`.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import aiohttp

from supervisor.demo.client import ModelClient
from supervisor.demo.ctc import CtcDecoder
from supervisor.demo.rendering import RenderedLine
from supervisor.demo.tally import Phase, Tally
from supervisor.demo.wire import AnswerError, EncodedRequest, Signature, encode_request

# A refused connection fails at once; without a pause the readers would only count failures.
_PAUSE_AFTER_FAILURE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    request: EncodedRequest


class Load:
    """Readers that keep a model busy.

    Args:
        client: The model's client.
        signature: Names of the model's input and output.
        decoder: Turns the answers' scores into text.
        lines: The lines to read.
        tally: Where every request is counted.

    """

    def __init__(
        self,
        client: ModelClient,
        signature: Signature,
        decoder: CtcDecoder,
        lines: Sequence[RenderedLine],
        tally: Tally,
    ) -> None:
        self._client = client
        self._signature = signature
        self._decoder = decoder
        self._questions = [
            _Question(line.text, encode_request(signature, line.tensor)) for line in lines
        ]
        self._tally = tally
        self._answered: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._stopping = False
        self.phase = Phase.SETTLING

    async def read_each_once(self) -> None:
        """Send every line once, one after another."""
        for question in self._questions:
            await self._ask(question)

    async def run(self, *, readers: int, seed: int) -> None:
        """Read until `stop` is called; return when the last answer is in."""
        async with asyncio.TaskGroup() as group:
            for number in range(readers):
                group.create_task(self._reader(random.Random(f"{seed}/{number}")))  # noqa: S311 an order, not a secret

    def stop(self) -> None:
        """Let the requests under way be the last ones."""
        self._stopping = True

    async def first_answer_ms(self, version: str, *, within_s: float) -> float | None:
        """Wait for a version's first answer; None when none comes in time."""
        try:
            await asyncio.wait_for(self._answered[version].wait(), within_s)
        except TimeoutError:
            return None
        return self._tally.first_answers_ms[version]

    async def _reader(self, order: random.Random) -> None:
        while not self._stopping:
            for question in order.sample(self._questions, len(self._questions)):
                if self._stopping:
                    return
                if not await self._ask(question):
                    await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)

    async def _ask(self, question: _Question) -> bool:
        phase = self.phase
        highest = self._tally.order.highest
        sent = perf_counter()
        try:
            answer = await self._client.infer(self._signature, question.request)
            latency_ms = 1000 * (perf_counter() - sent)
            read = self._decoder.decode(answer.scores[0])
        except AnswerError as error:
            self._tally.count_failure(str(error))
            return False
        except (aiohttp.ClientError, TimeoutError, ValueError, IndexError) as error:
            self._tally.count_failure(f"{type(error).__name__}: {error}")
            return False
        self._tally.order.answered(highest_when_sent=highest, generation=answer.generation)
        self._tally.count_answer(
            phase=phase,
            version=answer.version,
            latency_ms=latency_ms,
            drawn=question.text,
            read=read,
        )
        self._answered[answer.version].set()
        return True
