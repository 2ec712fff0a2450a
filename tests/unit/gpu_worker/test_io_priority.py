"""I/O priority: one thread's, taken back; and a whole process's during a load."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
import threading

import pytest

from gpu_worker.ipc.io_priority import IO_LAST, io_last, io_priority, set_io_priority
from tests.harness import ROOT

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="the call's number is not known here"
)


def test_a_block_is_last_in_line_and_its_thread_alone() -> None:
    seen: list[int | None] = []

    def work() -> None:
        seen.append(io_priority())
        with contextlib.suppress(KeyError), io_last():
            seen.append(io_priority())
            raise KeyError
        seen.append(io_priority())

    before = io_priority()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, IO_LAST, before]
    assert io_priority() == before != IO_LAST


def test_what_the_kernel_does_not_take_changes_nothing() -> None:
    before = io_priority()
    set_io_priority(7 << 13)
    assert io_priority() == before


LOWERS = """
import subprocess, threading
from gpu_worker.priority import lowered

def priorities():
    ids = [thread.native_id for thread in threading.enumerate()]
    asked = subprocess.run(["ionice", "-p", *map(str, ids)], capture_output=True, text=True)
    return sorted(set(asked.stdout.split("\\n")) - {""})

end = threading.Event()
early = threading.Thread(target=end.wait)
early.start()
before = priorities()
with lowered(1):
    late = threading.Thread(target=end.wait)
    late.start()
    inside = priorities()
print(inside, priorities() == before)
with lowered(0):
    print(priorities() == before)
end.set()
"""


def test_all_threads_of_a_worker_step_back_during_a_load_and_return() -> None:
    """As util-linux sees them, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOWERS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["['best-effort: prio 7'] True", "True"]
