"""Priority: a worker that loads steps back behind those that serve, at the cores and at the disks.

Owns the niceness, scheduling policy and I/O priority of all threads of this process, Paddle's among
them: one that was made during a load would otherwise stay low for ever. Never lowers what it could
not raise again. Runs in the worker.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gpu_worker.ipc.io_priority import IO_LAST, io_priority, set_io_priority
from gpu_worker.ipc.policy import set_policy
from gpu_worker.ipc.threads import each_thread

_CAP_SYS_NICE: Final = 1 << 23
_LOWEST: Final = 19
_WHOLE_UID_MAP: Final = ["0", "0", "4294967295"]


def may_return(nice: int, status: str, uid_map: str, limit: int) -> bool:
    """Say whether a process of this kind may go back to the niceness `nice`.

    Args:
        nice: -20 to 19.
        status: what /proc/self/status says, for the effective capabilities.
        uid_map: what /proc/self/uid_map says; in a user namespace the capability counts nothing.
        limit: the soft RLIMIT_NICE, -1 for none.

    """
    if limit == resource.RLIM_INFINITY or nice >= 20 - limit:
        return True
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    capable = found is not None and bool(int(found[1], 16) & _CAP_SYS_NICE)
    return capable and uid_map.split() == _WHOLE_UID_MAP


def _may_return_here(nice: int) -> bool:
    return may_return(
        nice,
        Path("/proc/self/status").read_text(),
        Path("/proc/self/uid_map").read_text(),
        resource.getrlimit(resource.RLIMIT_NICE)[0],
    )


@contextmanager
def lowered(by: int, *, idle: bool = False) -> Iterator[bool]:
    """Run a block with a niceness raised by `by` and I/O last in line; gives whether the former is.

    With `idle` the cores serve everything else first (SCHED_IDLE), whatever the niceness: then
    somebody else must see to it that this process gets on, which is SCHED_OTHER otherwise. Nothing
    changes where `by` is 0 and `idle` false. Niceness and policy stay where the process may not go
    back; with the I/O priority it always may.
    """
    if by <= 0 and not idle:
        yield False
        return
    before, io_before = os.getpriority(os.PRIO_PROCESS, 0), io_priority()
    returns, idled = _may_return_here(before), False
    try:
        if returns:
            _set_all(min(before + by, _LOWEST))
        if returns and idle:
            with suppress(OSError):  # a kernel or a filter may not know it: niceness alone, then
                set_policy(os.getpid(), os.SCHED_IDLE)
                idled = True
        _set_all_io(IO_LAST)
        yield returns
    finally:
        if io_before is not None:
            _set_all_io(io_before)
        if returns:
            _return_to(before, idled=idled)


def _return_to(nice: int, *, idled: bool) -> None:
    try:
        if idled:
            set_policy(os.getpid(), os.SCHED_OTHER)
        _set_all(nice)
    except PermissionError as error:  # a security module may know better
        sys.stderr.write(f"the worker keeps a low priority after a load: {error}\n")


def _set_all(nice: int) -> None:
    for thread in each_thread(os.getpid()):
        with suppress(ProcessLookupError):  # it has just ended
            os.setpriority(os.PRIO_PROCESS, thread, nice)


def _set_all_io(priority: int) -> None:
    for thread in each_thread(os.getpid()):
        set_io_priority(priority, thread)
