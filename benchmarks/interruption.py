"""Interruption: a benchmark that is told to end ends whatever it has started.

Owns what SIGINT and SIGTERM mean to the process that measures; both raise `KeyboardInterrupt`.
"""

from __future__ import annotations

import signal
from typing import Final

INTERRUPTED: Final = "interrupted"


def end_when_told() -> None:
    """Have both signals end this process, also where a shell has had it ignore SIGINT (`&`)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
