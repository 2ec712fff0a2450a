"""A model as the supervisor knows it: its dispatcher, its candidate, its past.

Owns what `/admin/` shows. Decides nothing and does no I/O. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.fronts.fronts import Fronts
from supervisor.lifecycle.memory_guard import Footprint
from supervisor.lifecycle.reload_statistics import ReloadStatistics
from supervisor.lifecycle.states import VersionRecord, timestamp
from supervisor.lifecycle.version_policy import NoWish, ServingSnapshot, Wish

HISTORY: Final = 50
_REFUSED: Final = 256  # the oldest is forgotten


@dataclass(slots=True, eq=False)
class Model:
    """One model. `refused` maps tokens to (reason, may be tried again by SIGHUP)."""

    name: str
    dispatcher: Dispatcher
    candidate: VersionRecord | None = None
    last_failure: VersionRecord | None = None
    refused: dict[str, tuple[str, bool]] = field(default_factory=dict)
    unloaded: bool = False
    passed_over: bool = False  # the last version that was ready gave way to a newer one
    problem: str = ""  # why the repository asks for nothing
    desired: Wish | NoWish | None = None  # what it asks for, whether or not that was refused
    footprint: Footprint = field(default_factory=Footprint)
    reloads: ReloadStatistics = field(default_factory=ReloadStatistics)
    history: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def snapshot(self) -> ServingSnapshot:
        """Give what the version policy needs to know."""
        serving, retained = self.dispatcher.serving, self.dispatcher.retained
        return ServingSnapshot(
            serving.record.token if serving else None,
            retained.record.token if retained else None,
            frozenset(self.refused),
            self.unloaded,
        )

    def serving_version(self) -> str | None:
        """Name the version that serves."""
        return self.dispatcher.serving.version if self.dispatcher.serving else None

    @property
    def mismatched(self) -> bool:
        """Say whether something else serves than the repository asks for, or nothing."""
        if self.unloaded or self.desired is None:
            return False
        serving = self.dispatcher.serving
        return serving is None or serving.record.token != self.desired.token

    @property
    def desired_version(self) -> str:
        """Name the version that the repository asks for; "" while that is not known."""
        if self.desired is None or self.desired.version:
            return "" if self.desired is None else self.desired.version
        return "" if self.mismatched else self.serving_version() or ""  # a flat model's is a digest

    def comparable_version(self) -> str | None:
        """Name the version that serves, unless its name is a digest, which has no order."""
        serving = self.dispatcher.serving
        flat = serving is not None and serving.record.token.startswith("@")
        return None if flat else self.serving_version()

    def note(self, what: str, version: str, **more: Any) -> None:
        """Remember a change; the last 50 are kept."""
        self.history.appendleft(
            {
                "at": timestamp(time.time()),
                "what": what,
                "version": version,
                "generation": self.dispatcher.generations.number,
                **more,
            }
        )

    def refuse(self, token: str, reason: str, *, may_retry: bool) -> None:
        """Remember that a wish is not to be met, until its files change or it is forgiven."""
        self.refused[token] = (reason, may_retry)
        if len(self.refused) > _REFUSED:
            del self.refused[next(iter(self.refused))]

    def forgive(self, *, everything: bool) -> None:
        """Let refused versions be tried again; those rolled back only with `everything`."""
        self.refused = {
            token: entry for token, entry in self.refused.items() if not everything and not entry[1]
        }

    def forgive_rollback_of_others(self, pointed: str) -> None:
        """Once the pointer names another version, one that was rolled back may be wished again."""
        for token, (_, may_retry) in list(self.refused.items()):
            if not may_retry and not token.startswith(f"{pointed}@"):
                del self.refused[token]

    def reason_not_ready(self) -> str:
        """Say why nothing serves."""
        if self.unloaded:
            return "it was unloaded by request"
        if self.candidate is not None and self.candidate.pending:
            return f"version {self.candidate.version} is {self.candidate.state.value}"
        if self.last_failure is not None:
            return f"version {self.last_failure.version} was refused: {self.last_failure.reason}"
        return self.problem or "no version has been loaded yet"

    def to_json(self, fronts: Fronts) -> dict[str, Any]:
        """Give the form in which `/admin/models/{model}` shows it; `fronts` know the counts."""
        dispatcher = self.dispatcher
        counted = fronts.totals.model_statistics(dispatcher)
        return {
            "name": self.name,
            "ready": dispatcher.ready,
            "generation": dispatcher.generations.number,
            "serving": _lane_json(dispatcher.serving, fronts),
            "retained": _lane_json(dispatcher.retained, fronts),
            "candidate": self.candidate.to_json() if self.candidate else None,
            "last_failure": self.last_failure.to_json() if self.last_failure else None,
            "problem": self.problem,
            "unloaded": self.unloaded,
            "memory": self.footprint.to_json(),
            "queued": counted.queued,
            "counts": counted.events,
            "history": list(self.history),
        }


def _lane_json(lane: Lane | None, fronts: Fronts) -> dict[str, Any] | None:
    if lane is None:
        return None
    counted = fronts.totals.version_statistics(lane)
    workers = [(worker, fronts.totals.worker_tally(worker)) for worker in lane.workers]
    return {
        "version": lane.version,
        "generation": lane.generation,
        "state": lane.record.state.value,
        "digest": lane.record.digest,
        "since": timestamp(lane.since),
        "workers": [
            {
                "number": worker.number,
                "pid": worker.pid,
                "device": worker.device,
                "in_flight": done.in_flight,
                "answered": done.answered,
            }
            for worker, done in workers
        ],
        "requests": counted.success_count,
        "failures": counted.fail_count,
    }
