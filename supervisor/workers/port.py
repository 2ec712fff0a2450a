"""A port: one worker as a dispatcher sees it.

Owns one link to the worker, the requests that it holds for this process, and the load that they are
meant for. Never waits and knows nothing of processes. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog

from gpu_worker.ipc.link import Completion, SupervisorEnd
from supervisor.dispatch.request import InferRequest
from supervisor.express.ring_parts import Rings, collect
from supervisor.workers.events import Answered, Holder, PortEvents

log = structlog.get_logger()


class WorkerPort:
    """Sends requests to one worker and takes its answers."""

    def __init__(
        self, number: int, pid: int, device: str, link: SupervisorEnd, events: PortEvents[Any]
    ) -> None:
        """Take the link over; `events` is told of answers."""
        self.number = number
        self.pid = pid
        self.device = device
        self.lane: Holder | None = None
        self.load_id = 0
        self.in_flight: dict[int, InferRequest] = {}
        self.answered = 0
        self.stale = 0
        self.last_progress = 0.0
        self.marks = link.marks
        self.rings = None if Rings is None else Rings(link)  # for compiled code
        self.view = link.responses.view
        self.events = events
        self._link = link
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        if collect is None:
            self._loop.add_reader(link.completion_bell.fd, self.collect)
        else:
            self._loop.add_reader(link.completion_bell.fd, collect, self)

    def submit(self, requests: Sequence[InferRequest]) -> None:
        """Put requests onto the submission ring and ring once; they are in `in_flight` already."""
        if len(self.in_flight) == len(requests):
            self.last_progress = self._loop.time()
        now_ns, load_id = time.monotonic_ns(), self.load_id
        self._link.submit([request.submission(load_id, now_ns) for request in requests])

    def collect(self) -> None:
        """Take all answers that the doorbell counted."""
        answers: list[Answered] = []
        try:
            last = self._take(answers)
        except ValueError as error:
            self.events.worker_answered(self, answers)
            self.broken(error)
            return
        if last is not None:
            self.last_progress = self._loop.time()
            self.events.worker_answered(self, answers)
            self._link.responses.release_to(last.position, last.length)

    def broken(self, error: ValueError) -> None:
        """Take note that the worker wrote nonsense into its rings."""
        log.error("a worker broke its rings", worker=self.number, reason=str(error))

    def _take(self, answers: list[Answered]) -> Completion | None:
        """Collect the answers that are there; gives the last one, stale or not."""
        completion, in_flight, view = None, self.in_flight, self.view
        for completion in self._link.completions():
            request = in_flight.get(completion.request_id)
            if request is None or request.slot.reuse != completion.slot_reuse:
                self.stale += 1
                continue
            data = view(completion.position, completion.length)
            del in_flight[completion.request_id]
            answers.append((request, completion, data))
            self.answered += 1
        return completion

    def running(self) -> tuple[int, ...]:
        """Give the ids of the requests that the worker is running, or was when it ended."""
        return self._link.running()

    def link_fds(self) -> tuple[int, int, int]:
        """Give the descriptors of the link: rings, and the doorbells of both directions."""
        link = self._link
        return link.rings_fd, link.submission_bell.fd, link.completion_bell.fd

    def is_stuck(self, now: float, patience_s: float) -> bool:
        """Say whether it holds requests without any sign of progress; `now` is the loop's time."""
        return bool(self.in_flight) and now - self.last_progress > patience_s

    def close(self) -> None:
        """Give the link back, after the worker has ended and its last answers were collected."""
        self._loop.remove_reader(self._link.completion_bell.fd)
        if self.rings is not None:
            self.rings.close()
        # In a thread: the kernel takes milliseconds to take megabytes back.
        self._loop.run_in_executor(None, self._link.close)
