"""Scheduling policy: whether a process gets its share of the cores, or only what is left over.

Owns the setting of all threads of a process; Linux has a policy for each. Runs in the worker that
loads, and in the supervisor, which takes it back when too little is left over.
"""

from __future__ import annotations

import os
from contextlib import suppress


def set_policy(pid: int, policy: int) -> None:
    """Give all threads of a process `os.SCHED_OTHER` or `os.SCHED_IDLE`.

    A thread that is made meanwhile has the policy of the one that makes it: hence until all have.

    Raises:
        PermissionError: that may not be done.
        FileNotFoundError: there is no such process.

    """
    done: set[str] = set()
    while left := set(os.listdir(f"/proc/{pid}/task")) - done:  # noqa: PTH208 - names are all
        for thread in left:
            with suppress(ProcessLookupError):  # it has just ended
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))
        done |= left
