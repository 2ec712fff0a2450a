"""Rollback: the retained version serves again.

Owns what is refused and noted with it; the switch itself is the lanes'. Runs on the supervisor's
event loop.
"""

from __future__ import annotations

import time

import structlog

from supervisor.errors import NotReady
from supervisor.lifecycle.lanes import Lanes
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.verdict import Outcome, Verdict

log = structlog.get_logger()


def roll_back(lanes: Lanes, model: Model) -> Verdict:
    """Switch to the retained version, and refuse the one that served. All fronts are held.

    Raises:
        NotReady: no version is retained.

    """
    serving, retained = model.dispatcher.serving, model.dispatcher.retained
    if serving is None or retained is None or retained.closing or not retained.workers:
        raise NotReady(
            f"model {model.name!r} retains no earlier version (none yet, or a load took its "
            "worker); point model_version.txt to the version that you want"
        )
    reason = f"rolled back to {retained.version} by request"
    model.refuse(serving.record.token, reason, may_retry=False)
    return switch_back(lanes, model, "rollback by request", "rollback")


def switch_back(lanes: Lanes, model: Model, reason: str, trigger: str) -> Verdict:
    """Switch to the retained version. All fronts are held."""
    lane = model.dispatcher.retained
    assert lane is not None
    model.refused.pop(lane.record.token, None)  # it was rolled back once; now it is wanted
    old = model.serving_version()
    started = time.perf_counter()
    lanes.switch(model, lane)
    cost_ms = (time.perf_counter() - started) * 1000
    log.info(
        f"Switched back to {lane.version}, cost={cost_ms:.1f}ms",
        model=model.name, generation=lane.generation, instead_of=old, reason=reason,
    )  # fmt: skip
    model.note("rollback", lane.version, reason=reason, trigger=trigger)
    model.reloads.ended("rollback")
    return Verdict(model.name, Outcome.LIVE, lane.version, lane.generation, reason)
