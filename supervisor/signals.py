"""Signals: what each means to the supervisor.

Owns the handlers. They only enqueue; no signal does work. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def install(stop: Callable[[], None], reload: Callable[[str], None]) -> None:
    """SIGTERM and SIGINT stop (a second one hurries), SIGHUP reloads."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload, "sighup")
