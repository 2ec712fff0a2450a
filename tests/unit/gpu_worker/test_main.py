"""The worker's entry point, up to its loop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from gpu_worker.ipc import messages
from gpu_worker.ipc.arguments import WorkerArguments
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import LinkFds, SupervisorEnd

# In place of the loop: how many objects no collection looks at, and how many it does.
_COUNT = """
import gc, sys
from gpu_worker import __main__, loop
loop.Loop.run = lambda self: print(gc.get_freeze_count(), len(gc.get_objects()))
sys.exit(__main__.main())
"""


def test_no_load_has_to_walk_through_what_was_imported() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = SupervisorEnd.create(1 << 16)
    arena = os.memfd_create("arena")
    os.ftruncate(arena, 1 << 16)
    fds = LinkFds(*link.fds(arena), theirs.fileno())
    command = WorkerArguments("cpu", os.getpid(), fds).to_json()
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-c", _COUNT, command],
            pass_fds=[*link.fds(arena), theirs.fileno()],
            capture_output=True,
            check=True,
            timeout=60,
        )
        hello, _ = ControlChannel(ours).receive()
    os.close(arena)
    link.close()
    assert isinstance(hello, messages.Hello)
    kept, walked = map(int, done.stdout.split())
    assert kept > 50_000
    assert walked < 5_000
