"""Scheduling policy: whether a process gets its share of the cores, or only what is left over.

Owns the setting of all threads of a process. Runs in the worker that loads, and in the supervisor,
which takes it back when too little is left over.
"""

from __future__ import annotations

import os
from contextlib import suppress

from gpu_worker.ipc.threads import each_thread


def set_policy(pid: int, policy: int) -> None:
    """Give all threads of a process `os.SCHED_OTHER` or `os.SCHED_IDLE`.

    Raises:
        PermissionError: that may not be done.
        FileNotFoundError: there is no such process.

    """
    for thread in each_thread(pid):
        with suppress(ProcessLookupError):  # it has just ended
            os.sched_setscheduler(thread, policy, os.sched_param(0))
