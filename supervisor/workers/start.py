"""How a worker's process comes to be: started, or found where another program has left it.

Owns the command. Runs on the main thread: the kernel ties a child's death signal to the thread that
started it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from gpu_worker.ipc.arguments import WorkerArguments
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import LinkFds, SupervisorEnd
from supervisor.kept.workers import KeptWorker
from supervisor.workers.events import WorkerEvents
from supervisor.workers.handle import Begin, WorkerHandle
from supervisor.workers.process import ChildProcess, start_child

_EXECUTABLE: Final = [sys.executable, "-m", "gpu_worker"]


def new_process(
    device: str,
    arena_fd: int,
    environment: Mapping[str, str] | None = None,
    cpus: Iterable[int] = (),
    *,
    express: bool = True,
) -> Begin:
    """Start a worker for `device` on `cpus`; `arena_fd` can only be mapped for reading."""

    def begin(
        link: SupervisorEnd, ended: Callable[[int], None]
    ) -> tuple[ControlChannel, ChildProcess]:
        fds = link.fds(arena_fd)

        def command(control_fd: int) -> list[str]:
            arguments = WorkerArguments(
                device, os.getpid(), LinkFds(*fds, control_fd), tuple(sorted(cpus)), express
            )
            return [*_EXECUTABLE, arguments.to_json()]

        return start_child(ControlChannel, command, fds, ended, environment)

    return begin


def take_up_worker(kept: KeptWorker, events: WorkerEvents[WorkerHandle]) -> WorkerHandle:
    """Take over a worker that another program has started.

    Raises:
        OSError: it is not there.

    """

    def begin(
        link: SupervisorEnd, ended: Callable[[int], None]
    ) -> tuple[ControlChannel, ChildProcess]:
        del link
        control = ControlChannel.inherited(kept.control, blocking=False)
        return control, ChildProcess(kept.pid, ended)

    link = SupervisorEnd.attach(kept.rings, kept.submissions, kept.completions)
    worker = WorkerHandle(kept.number, kept.device_index, kept.device, link, events, begin)
    worker.take_up(kept)
    return worker
