"""Complaints: what a library logs over and over, as a line of ours now and then.

Owns how often. Runs in whichever thread the library logs in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger()

_EVERY_S: Final = 60.0


class Complaints(logging.Handler):
    """Passes on the first complaint, then one a minute and how many there were between."""

    def __init__(self, endpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._endpoint = endpoint
        self._clock = clock
        self._next_s = 0.0
        self._kept = 0

    def take_over(self, name: str) -> None:
        """Be the only one who hears a library's logger."""
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers[:] = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Take one; the caller holds the handler's lock."""
        now = self._clock()
        if now < self._next_s:
            self._kept += 1
            return
        self._next_s = now + _EVERY_S
        kept, self._kept = self._kept, 0
        reason = record.getMessage()
        if record.exc_info:
            reason += f" {record.exc_info[1]!r}"
        log.warning(
            "spans cannot be sent as they should", endpoint=self._endpoint, reason=reason,
            not_shown=kept,
        )  # fmt: skip
