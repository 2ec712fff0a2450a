"""The restart policy: how long to wait before a worker that ended is replaced.

Pure: a history of exits in, a delay out. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0
_MEMORY_S: Final = 120.0  # older exits are forgiven


class ExitKind(Enum):
    """What a worker was doing when it ended."""

    STARTING = "starting"  # it never said hello: wheel, driver or device are at fault
    LOADING = "loading"  # the version is to blame, and is refused
    BARREN = "barren"  # it died before it answered a single request
    FRUITFUL = "fruitful"  # it had answered requests


@dataclass(frozen=True, slots=True)
class Exit:
    """One worker's end, at a time in seconds of the loop's clock."""

    at: float
    kind: ExitKind


def restart_delay(exits: Sequence[Exit], now: float) -> float:
    """Give the seconds to wait before the next start on a device.

    Exits count as flapping when the worker had not answered anything; the first such is forgiven,
    then the delay doubles from 0.5 s to 30 s. An end after good work restarts at once.
    """
    streak = 0
    for end in reversed(exits):
        if now - end.at > _MEMORY_S or end.kind is ExitKind.FRUITFUL:
            break
        if end.kind in (ExitKind.STARTING, ExitKind.BARREN):
            streak += 1
    if streak <= 1:
        return 0.0
    return float(min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(streak - 2, 10)))
