"""Threads: those of a process, for what Linux has one of for each: niceness, policy, I/O priority.

Owns the walk. Runs in all processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator


def each_thread(pid: int) -> Iterator[int]:
    """Give the id of each thread of a process, for something to be set; one may just have ended.

    A thread that is made meanwhile has what the one that makes it has: hence until all were given.

    Raises:
        FileNotFoundError: there is no such process.

    """
    done: set[str] = set()
    while left := set(os.listdir(f"/proc/{pid}/task")) - done:  # noqa: PTH208 - names are all
        yield from map(int, left)
        done |= left
