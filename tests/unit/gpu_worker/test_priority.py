"""Priority: who may go back to where it was, and that all threads do."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gpu_worker.priority import lowered, may_return

ROOT = Path(__file__).parent.parent.parent.parent
NICE = "CapInh:\t0000000000000000\nCapEff:\t0000000000800000\n"
NONE = "CapInh:\t0000000000800000\nCapEff:\t0000000000000000\n"
ALL = "CapEff:\t000001ffffffffff\n"
WHOLE = "         0          0 4294967295\n"
MAPPED = "         0       1000          1\n"


@pytest.mark.parametrize(
    ("nice", "status", "uid_map", "limit", "may"),
    [
        (0, NICE, WHOLE, 0, True),
        (0, ALL, WHOLE, 0, True),
        (0, NONE, WHOLE, 0, False),
        (0, "", WHOLE, 0, False),
        (0, ALL, MAPPED, 0, False),  # the capability counts only outside of user namespaces
        (0, ALL, "", 0, False),
        (0, NONE, WHOLE, 20, True),
        (0, NONE, WHOLE, 19, False),
        (5, NONE, WHOLE, 15, True),
        (-5, NONE, WHOLE, 20, False),
        (-5, NONE, WHOLE, 25, True),
        (0, NONE, MAPPED, resource.RLIM_INFINITY, True),
    ],
)
def test_who_may_go_back(nice: int, status: str, uid_map: str, limit: int, may: bool) -> None:
    assert may_return(nice, status, uid_map, limit) is may


def here() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_nothing_changes_where_nothing_is_asked_for() -> None:
    before = here()
    with lowered(0) as low:
        assert not low
        assert here() == before


LOWERS = """
import os, threading
from gpu_worker.priority import lowered

def nices():
    return {os.getpriority(os.PRIO_PROCESS, int(t)) for t in os.listdir("/proc/self/task")}

end = threading.Event()
early = threading.Thread(target=end.wait)
early.start()
try:
    with lowered(7) as low:
        late = threading.Thread(target=end.wait)
        late.start()
        inside = nices()
        raise KeyError
except KeyError:
    print(low, inside, nices())
end.set()
"""


IDLES = LOWERS.replace("lowered(7)", "lowered(0, idle=True)").replace(
    "os.getpriority(os.PRIO_PROCESS, int(t))", "os.sched_getscheduler(int(t))"
)


def test_all_threads_run_on_the_leftover_and_return_where_they_may_and_none_where_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IDLES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    other = os.SCHED_OTHER
    assert done.stdout.strip() in (
        f"True {{{os.SCHED_IDLE}}} {{{other}}}", f"False {{{other}}} {{{other}}}"
    )  # fmt: skip


REFUSED = IDLES.replace(
    "end = threading",
    """
import gpu_worker.priority
def refused(pid, policy):
    raise PermissionError("filtered")
gpu_worker.priority.set_policy = refused
end = threading""",
)


def test_a_policy_that_may_not_be_set_keeps_nobody_from_loading() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    other = os.SCHED_OTHER
    assert done.stdout.strip().partition(" ")[2] == f"{{{other}}} {{{other}}}"
    assert not done.stderr


def test_all_threads_step_back_and_return_where_they_may_and_none_where_not() -> None:
    """In a process of its own: a priority that could not be raised again would stay."""
    done = subprocess.run(
        [sys.executable, "-c", LOWERS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before = here()
    assert done.stdout.strip() in (
        f"True {{{min(before + 7, 19)}}} {{{before}}}", f"False {{{before}}} {{{before}}}"
    )  # fmt: skip
    assert threading.active_count() >= 1
