"""Dynamic batching: which of the waiting requests run now, or how long to wait for company.

Owns the decision alone. Pure: no input, no output, and the time is passed in. Runs in the worker.

The oldest request's group goes first. While that one may still wait for company, another group that
is ready may run, for the worker would be idle otherwise; once the oldest has waited as long as it
may, nothing goes before it, so that nobody starves. Inside a group the order is kept.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, Protocol

from gpu_worker.ipc.messages import BatchingSettings

_NS_PER_US: Final = 1000


class Waiting(Protocol):
    """What the decision needs to know of a request.

    Requests of one `group` may share a batch: their tensors are alike but for the first dimension,
    in which this one has `rows`. One that is `alone` shares with nobody. `submitted_ns` is a time
    of CLOCK_MONOTONIC.
    """

    @property
    def group(self) -> Hashable: ...  # noqa: D102 - see above
    @property
    def rows(self) -> int: ...  # noqa: D102 - see above
    @property
    def submitted_ns(self) -> int: ...  # noqa: D102 - see above
    @property
    def alone(self) -> bool: ...  # noqa: D102 - see above


class Batcher:
    """Decides by one model's settings."""

    def __init__(self, settings: BatchingSettings) -> None:
        self.max_rows = settings.max_batch_size
        self.delay_ns = settings.max_queue_delay_us * _NS_PER_US
        # Sizes that are run as soon as they are reached; nothing can be added to the largest.
        self.stops = {size for size in settings.preferred_batch_sizes if size <= self.max_rows}
        self.stops.add(self.max_rows)

    def decide(self, waiting: Sequence[Waiting], now_ns: int) -> tuple[list[int], int]:
        """Decide on `waiting`, at least one request, the earliest submitted first.

        Returns the positions of those to run now, in order, and where there are none, the time at
        which to decide again.
        """
        newest_due = now_ns - self.delay_ns
        if len(waiting) == 1 and waiting[0].submitted_ns <= newest_due:
            return [0], 0
        seen: set[Hashable] = set()
        for start, request in enumerate(waiting):
            if request.alone:
                return [start], 0
            if request.group in seen:
                continue
            positions = self._gather(waiting, start, due=request.submitted_ns <= newest_due)
            if positions:
                return positions, 0
            seen.add(request.group)
        return [], waiting[0].submitted_ns + self.delay_ns

    def _gather(self, waiting: Sequence[Waiting], start: int, *, due: bool) -> list[int]:
        """Give the batch that begins at `start`, empty while it is better to wait."""
        group, limit, stops = waiting[start].group, self.max_rows, self.stops
        chosen: list[int] = []
        rows = stop = 0
        for position in range(start, len(waiting)):
            request = waiting[position]
            if request.alone or request.group != group:
                continue
            rows += request.rows
            if rows > limit:
                due = True  # whoever comes stands behind this one: waiting adds nobody
                break
            chosen.append(position)
            if rows in stops:
                stop = len(chosen)
                if rows == limit:
                    break
        if stop:
            return chosen[:stop]
        return chosen if due else []
