"""A child process of the supervisor: how it ends with it, and what it ignores.

Owns the two calls that every child makes first. Runs in worker processes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with(supervisor_pid: int) -> None:
    """Have the kernel kill this process when the supervisor ends, even in the middle of a load.

    The control channel's end says the same, but is only read between two pieces of work.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid:  # it died before the kernel was told
        sys.exit(1)


def ignore_terminal_signals() -> None:
    """Obey the control channel alone: a terminal or systemd signals the whole group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
