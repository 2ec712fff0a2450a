"""What a server costs that has nothing to do."""

from __future__ import annotations

import time

from benchmarks.process_cost import cpu_between
from benchmarks.server import Server

_REST_S = 1.0


def idle_percent(server: Server, seconds: float) -> dict[str, float]:
    """Give the share of one core that each kind of process takes without traffic, in percent."""
    time.sleep(_REST_S)
    before, started = server.tree.cpu(), time.monotonic()
    time.sleep(seconds)
    after, ended = server.tree.cpu(), time.monotonic()
    return {
        role: 100 * spent / (ended - started) for role, spent in cpu_between(before, after).items()
    }
