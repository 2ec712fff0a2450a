"""Processes, as tests look at them from outside."""

from __future__ import annotations

from collections.abc import Iterable

import psutil


def alive(process: psutil.Process) -> bool:
    """Say whether it runs.

    One that has ended does not, even if it has outlived its parent and init, which may take its
    time, has not taken note of its end yet.
    """
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Give those that run."""
    return [process for process in processes if alive(process)]
