"""Large JSON: what is too large to be parsed or written on the event loop.

Owns the limit, and the way to the JSON worker and back. Runs on the supervisor's event loop.
"""

from __future__ import annotations

from typing import Any

from supervisor.dispatch.result import InferResult
from supervisor.http.body import Body
from supervisor.http.codec.answer_form import AnswerForm
from supervisor.json_worker.handle import JsonWorker
from supervisor.json_worker.work import read_decoded, read_encoded


class LargeJson:
    """Has JSON parsed and written elsewhere."""

    def __init__(self, worker: JsonWorker, inline_bytes: int) -> None:
        """JSON of more than `inline_bytes` goes to the JSON worker."""
        self._worker = worker
        self._inline_bytes = inline_bytes

    def is_large(self, length: int, json_length: int | None) -> bool:
        """Say whether the JSON of a body of this length must be parsed elsewhere."""
        limit = self._inline_bytes
        return length > limit and (json_length is None or json_length > limit)

    async def parse(self, body: Body, json_length: int | None) -> dict[str, Any]:
        """Parse a body's JSON; numbers have become arrays. The slot is the body's again after it.

        Raises:
            RequestError: it is wrong, too much is under way, or it took too long.

        """
        slot = body.take()
        json_bytes = body.length if json_length is None else min(json_length, body.length)
        end = body.at + json_bytes
        data = await self._worker.decode(slot, body.at, end)
        body.slot = slot
        return read_decoded(data)

    def answer_is_large(self, result: InferResult) -> bool:
        """Say whether the JSON of an answer that has some must be written elsewhere."""
        size = len(result.data)
        return self._inline_bytes < size <= self._worker.arena.slots.largest_payload

    async def write(self, form: AnswerForm, result: InferResult) -> dict[int, bytes]:
        """Write the numbers of an answer as JSON, by output; `result` is a copy.

        Raises:
            RequestError: too much is under way, or it took too long.

        """
        return read_encoded(await self._worker.encode(result.data, form.json_mask))
