"""Child processes: started, or found where another program has left them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import psutil
import pytest

from supervisor.workers.process import ChildProcess, describe_exit

SLEEPS = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def left_behind(*, dead: bool) -> subprocess.Popen[bytes]:
    """Start a child that another program has started; `dead`: it has ended, unreaped."""
    popen = subprocess.Popen(SLEEPS, stdout=subprocess.PIPE)
    with popen.stdout as said:  # type: ignore[union-attr]  # it is a pipe
        said.readline()
    if dead:
        popen.kill()
        os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
    return popen


async def test_a_child_that_was_started_is_reaped() -> None:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    child = ChildProcess.start([sys.executable, "-c", "raise SystemExit(3)"], [], ended.set_result)
    assert await ended == 3
    assert not child.alive


@pytest.mark.parametrize("dead_before", [True, False])
async def test_a_child_that_was_found_is_ended_and_reaped(dead_before: bool) -> None:
    popen = left_behind(dead=dead_before)
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    child = ChildProcess(popen.pid, ended.set_result)
    child.kill()
    assert await ended == -signal.SIGKILL
    assert not child.alive
    assert not psutil.pid_exists(popen.pid)
    popen.returncode = -signal.SIGKILL  # it was reaped behind its back


@pytest.mark.parametrize("pid", [2**22 + 1, os.getppid()])
async def test_no_process_of_others_is_taken_for_a_child(pid: int) -> None:
    with pytest.raises(ChildProcessError):
        ChildProcess(pid, lambda _: None)


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exit status 0"), (-9, "signal 9 SIGKILL (out of memory?)"), (-6, "signal 6 SIGABRT")],
)
def test_how_it_ended_is_said_for_people(status: int, text: str) -> None:
    assert describe_exit(status) == text
