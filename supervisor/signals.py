"""Signals: what each means to the supervisor.

Owns the handlers. They only enqueue; no signal does work. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


def install(
    stop: Callable[[], None], reload: Callable[[str], None], upgrade: Callable[[], None]
) -> None:
    """SIGTERM and SIGINT stop (a second one hurries), SIGHUP reloads, SIGUSR2 upgrades in place."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload, "sighup")
    loop.add_signal_handler(signal.SIGUSR2, upgrade)
    unblock()


def block() -> None:
    """Have the kernel keep signals: the program that comes next hears them once it has handlers."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)


def unblock() -> None:
    """Hear signals, also those that the kernel has kept."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
