"""The ports of a further front: a link of its own to every worker.

Owns the links from the moment in which a worker is told of to its end. Each is made here and handed
through the supervisor to the worker, so that a front has no way to a worker but its rings. Runs on
the front's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from gpu_worker.ipc.link import RingMarks, SupervisorEnd
from supervisor.dispatch.delivery import Delivery
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.fronts import messages
from supervisor.workers.events import Answered
from supervisor.workers.port import WorkerPort
from supervisor.workers.tally import WorkerTally

log = structlog.get_logger()

_WATCH_EVERY_S: Final = 0.5

HandOver = Callable[[messages.FrontMessage, tuple[int, ...]], None]


class Ports:
    """The ports, by their workers' numbers."""

    def __init__(
        self,
        response_bytes: int,
        arena_fd: int,
        hang_timeout_s: float,
        find: Callable[[str], Dispatcher | None],
        say: HandOver,
    ) -> None:
        """`say` sends a message with descriptors to the supervisor."""
        self._response_bytes = response_bytes
        self._arena_fd = arena_fd
        self._hang_timeout_s = hang_timeout_s
        self._delivery = Delivery(find)
        self._say = say
        self._ports: dict[int, WorkerPort] = {}
        self._loop = asyncio.get_running_loop()
        self._watch = self._loop.call_later(_WATCH_EVERY_S, self._look_for_hangs)

    def get(self, number: int) -> WorkerPort | None:
        """Give the port of a worker; None when it has ended."""
        return self._ports.get(number)

    async def open(self, worker: messages.WorkerUp) -> None:
        """Make a link to a worker and hand it over.

        Raises:
            OSError: no memory for it.

        """
        # In a thread: the kernel takes milliseconds to hand megabytes out.
        link = await asyncio.to_thread(SupervisorEnd.create, self._response_bytes)
        port = _Port(worker, link, self)
        self._ports[worker.number] = port
        self._say(messages.Link(worker.number), link.fds(self._arena_fd))

    def close(self, number: int) -> None:
        """Take back what a worker that has ended held, and give its link back."""
        port = self._ports.pop(number, None)
        if port is None:
            return
        port.collect()  # answers that were given before the end count
        self._delivery.died(port)
        port.close()

    def free_space(self, number: int) -> None:
        """Release all answers of a worker that has no room for more."""
        port = self._ports.get(number)
        if port is not None:
            port.collect()
            self._say(messages.SpaceFreed(number), ())

    def marks(self) -> list[RingMarks]:
        """Say how full the rings were at most."""
        return [port.marks for port in self._ports.values()]

    def tallies(self) -> dict[str, list[int]]:
        """Count what this front has had done by each worker: the fields of `WorkerTally`."""
        counted = {number: WorkerTally.of(port) for number, port in self._ports.items()}
        return {
            str(number): [tally.in_flight, tally.answered, tally.stale]
            for number, tally in counted.items()
        }

    # What ports tell

    def worker_answered(self, worker: WorkerPort, answers: Sequence[Answered]) -> None:
        """Pass answers on."""
        self._delivery.answered(worker, answers)

    def _look_for_hangs(self) -> None:
        """Tell of workers that hold requests of this front without any sign of progress."""
        self._watch = self._loop.call_later(_WATCH_EVERY_S, self._look_for_hangs)
        now = self._loop.time()
        for port in self._ports.values():
            if port.is_stuck(now, self._hang_timeout_s):
                port.last_progress = now
                self._say(messages.Hung(port.number), ())

    def gave_nonsense(self, port: WorkerPort) -> None:
        """Have a worker ended whose rings are broken."""
        self._say(messages.Hung(port.number), ())

    def stop(self) -> None:
        """Watch no more; the links' memory ends with the process."""
        self._watch.cancel()


class _Port(WorkerPort):
    """A port whose worker is the supervisor's to end."""

    def __init__(self, worker: messages.WorkerUp, link: SupervisorEnd, ports: Ports) -> None:
        super().__init__(worker.number, worker.pid, worker.device, link, ports)
        self._ports = ports

    def broken(self, error: ValueError) -> None:
        super().broken(error)
        self._ports.gave_nonsense(self)
