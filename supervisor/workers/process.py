"""A child process: started, watched and ended through descriptors.

Owns the process id, the pidfd and the reaping. Knows nothing of what the process does. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

from gpu_worker.ipc.channel import Channel

C = TypeVar("C", bound=Channel[Any])

_DUMP_S: Final = 1.0  # time for SIGABRT to write its stack dump


class ChildProcess:
    """One child, from its start, or from when this program took it over, to its reaping."""

    def __init__(self, pid: int, ended: Callable[[int], None]) -> None:
        """Watch a child of this process; `ended` is called once, with the exit status.

        Raises:
            OSError: there is no such child.

        """
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # raises if it is another's
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._popen: subprocess.Popen[bytes] | None = None
        self.pid = pid
        self.alive = True
        self.aborted = False  # told to end, and will be made to
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._reap)

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        fds: Sequence[int],
        ended: Callable[[int], None],
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Start `command` with `fds` inherited.

        On the main thread only: the kernel ties the child's death signal to the thread that
        started it.

        Raises:
            OSError: it cannot be started.

        """
        popen = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command, pass_fds=fds, stdin=subprocess.DEVNULL, env=environment
        )
        child = cls(popen.pid, ended)
        child._popen = popen
        return child

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        # It has ended: neither of these waits.
        if self._popen is not None:
            status = self._popen.wait()
        else:
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.alive = False
        os.close(self._pidfd)
        self._ended(status)

    def abort(self) -> None:
        """End it with a stack dump in the log (SIGABRT), and in any case (SIGKILL)."""
        self.aborted = True
        self._signal(signal.SIGABRT)
        self._loop.call_later(_DUMP_S, self.kill)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):  # it has ended, the pidfd will tell
                signal.pidfd_send_signal(self._pidfd, number)


def start_child(
    channel: type[C],
    command: Callable[[int], Sequence[str]],
    fds: Sequence[int],
    ended: Callable[[int], None],
    environment: Mapping[str, str] | None = None,
) -> tuple[C, ChildProcess]:
    """Start a child with the other end of a channel; gives this end and the child.

    Args:
        channel: the kind of channel.
        command: gives the command, which names the descriptor of the child's end.
        fds: further descriptors to inherit.
        ended: is called once, with the exit status.
        environment: the child's; None: as this process's.

    Raises:
        OSError: it cannot be started.

    """
    ours, theirs = channel.pair()
    fd = theirs.sock.fileno()
    try:
        return ours, ChildProcess.start(command(fd), [*fds, fd], ended, environment)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()


def describe_exit(status: int) -> str:
    """Say how a process ended, for people."""
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "unknown"
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"signal {-status} {name}{hint}"
