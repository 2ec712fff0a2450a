"""The ledger of one dispatcher: everything that it has counted, over all its lanes.

Owns the counts of what no lane answered, and of lanes that are gone. Knows whether a reload is
under way, so that latencies can be told apart by it. Runs on the event loop of a process that
dispatches.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.dispatch.statistics import VersionStatistics

if TYPE_CHECKING:
    from supervisor.dispatch.lane import Lane


class Ledger:
    """Counts of one model in this process.

    Events are `queue_full`, `deadline`, `stale`, `poison`, `sent_again`, `abandoned`, and `express`
    for a request that compiled code took.
    """

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.calm_since_ns = 0  # no reload has been under way since; far ahead while one is
        self._errors: Counter[int] = Counter()
        self._gone = VersionStatistics()
        self._lanes: list[Lane] = []

    def refused(self, status: int) -> None:
        """Count a request that is answered with an error."""
        self._errors[status] += 1

    def follow(self, lane: Lane) -> None:
        """Count a lane that begins to serve."""
        if lane not in self._lanes:
            self._lanes.append(lane)

    def settle(self, loaded: Collection[Lane]) -> None:
        """Sum up lanes that are gone and will not count anything more.

        `loaded` are those that requests may go to. Takes longer than a tiny model's run.
        """
        for lane in list(self._lanes):
            if lane not in loaded and not lane.in_flight and not lane.waiting:
                self._lanes.remove(lane)
                self._gone.add(lane.statistics)
                lane.statistics = self._gone  # for a large answer that is still being written

    def snapshot(self, serving: Lane | None, retained: Lane | None, queued: int) -> ModelStatistics:
        """Give all counts; what it gives does not change any more."""
        loaded = [lane for lane in (serving, retained) if lane is not None]
        self.settle(loaded)
        now = ModelStatistics(dict(self._errors), dict(self.events), queued=queued)
        now.gone.add(self._gone)
        for lane in self._lanes:
            if lane in loaded:
                now.versions.setdefault(lane.version, VersionStatistics()).add(lane.statistics)
            else:  # it still finishes what it has
                now.gone.add(lane.statistics)
            now.in_flight += lane.in_flight
        if serving is not None:
            limit = serving.settings.max_in_flight * len(serving.workers)
            now.credit = max(limit - serving.in_flight, 0)
        return now

    def take_up(self, past: ModelStatistics, lanes: Iterable[Lane]) -> None:
        """Go on from what another program has counted; `lanes` serve or are retained."""
        self._errors.update(past.errors)
        self.events.update(past.events)
        self._gone.add(past.gone)
        for lane in lanes:
            lane.statistics = past.versions.pop(lane.version, lane.statistics)
            self._lanes.append(lane)


def mark_reload(ledgers: Iterable[Ledger], *, under_way: bool) -> None:
    """Say that a reload begins or has ended: requests under way meanwhile are counted apart."""
    calm_since_ns = sys.maxsize if under_way else time.monotonic_ns()
    for ledger in ledgers:
        ledger.calm_since_ns = calm_since_ns
