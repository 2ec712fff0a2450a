"""The JSON worker as the supervisor sees it: pieces of work out, answers in.

Owns the child, its link and the work under way. A child that dies is replaced and its work is given
out again, once. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from dataclasses import dataclass
from typing import Final

import structlog

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.arguments import WorkerArguments
from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import Completion, LinkFds, Status, Submission, SupervisorEnd
from gpu_worker.ipc.messages import SpaceFreed
from gpu_worker.ipc.slots import Slot
from supervisor.errors import BadRequest, DeadlineExceeded, InferenceFailed, Overloaded
from supervisor.json_worker.work import DECODE, ENCODE
from supervisor.workers.process import describe_exit, start_child

log = structlog.get_logger()

_COMMAND: Final = [sys.executable, "-m", "supervisor.json_worker"]
_MOST: Final = 128  # pieces of work under way, within the ring's capacity
_PAUSE_S: Final = 0.2  # between an early death and the next start
_LONG_PAUSE_S: Final = 5.0  # a death within this time is early; the pause after many of them
_HOPELESS: Final = 10  # early deaths in a row, after which work is not kept waiting


@dataclass(slots=True, eq=False)
class _Work:
    """One piece of work. The slot stays lent until the child is done with it."""

    submission: Submission
    slot: Slot
    future: asyncio.Future[bytes]
    deaths: int = 0


class JsonWorker:
    """One child that decodes and encodes."""

    def __init__(
        self, arena: RequestArena, arena_fd: int, response_bytes: int, timeout_s: float
    ) -> None:
        """Start the child. A piece of work that takes longer than `timeout_s` ends it.

        Raises:
            OSError: no memory for the link, or the process cannot be started.

        """
        self.arena = arena
        self._timeout_s = timeout_s
        self._early_deaths = 0
        self._arena_fd = arena_fd
        self._response_bytes = response_bytes
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._work: dict[int, _Work] = {}
        self._stopping = False
        self._restart: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._start(SupervisorEnd.create(response_bytes))

    def _start_again(self) -> None:
        self._restart = None
        task = self._loop.create_task(self._start_in_background())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_in_background(self) -> None:
        """Start a new child; the kernel takes milliseconds to hand out its memory."""
        try:
            link = await asyncio.to_thread(SupervisorEnd.create, self._response_bytes)
            if self._stopping:
                link.close()
                return
            self._start(link)
        except OSError as error:
            log.error("the JSON worker cannot be started", reason=error.strerror)
            self._restart = self._loop.call_later(_LONG_PAUSE_S, self._start_again)

    def _start(self, link: SupervisorEnd) -> None:
        self._link = link
        inherited = link.fds(self._arena_fd)

        def command(control_fd: int) -> list[str]:
            fds = LinkFds(*inherited, control_fd)
            return [*_COMMAND, WorkerArguments("cpu", os.getpid(), fds).to_json()]

        try:
            self._control, self._process = start_child(
                ControlChannel, command, inherited, self._process_ended
            )
        except OSError:
            link.close()
            raise
        self._alive = True
        self._started_at = self._moved_at = self._loop.time()
        self._loop.add_reader(self._link.completion_bell.fd, self._collect)
        self._loop.add_reader(self._control.sock, self._hear)
        if self._work:
            self._link.submit([work.submission for work in self._work.values()])

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Say whether there is a child; one that has ended is replaced after a while."""
        return self._alive

    async def decode(self, slot: Slot, at: int, end: int) -> bytes:
        """Turn the JSON at bytes `at` to `end` of a slot's payload into `work.read_decoded`'s form.

        Takes the slot; the caller gets it back with the answer. Where this raises, the slot has
        gone home or will when the child is done with it.

        Raises:
            BadRequest: the JSON is wrong.
            DeadlineExceeded: it took too long.
            Overloaded: too much is under way.

        """
        return await self._do(slot, end, DECODE | at << 1, 0)

    async def encode(self, data: bytes | memoryview, mask: int) -> bytes:
        """Turn the tensors of `data` that `mask` names into `work.read_encoded`'s form.

        Raises:
            Overloaded: there is no slot for it, or too much is under way.

        """
        slot = self.arena.slots.take(len(data))
        if slot is None:
            raise Overloaded("the request arena is full (arena_mb); try again later")
        self.arena.payload(slot)[: len(data)] = data
        answer = await self._do(slot, len(data), ENCODE, mask)
        self.arena.slots.give_back(slot)
        return answer

    async def _do(self, slot: Slot, length: int, kind_and_start: int, mask: int) -> bytes:
        if len(self._work) >= _MOST:
            self.arena.slots.give_back(slot)
            raise Overloaded("too much large JSON is under way; try again later")
        number = next(self._ids)
        self.arena.stamp(slot, number)
        submission = Submission(
            number, slot.offset, slot.reuse, length, kind_and_start, mask, 0, time.monotonic_ns()
        )
        work = _Work(submission, slot, self._loop.create_future())
        self._work[number] = work
        begun = self._loop.time()
        if self._alive:
            self._link.submit([submission])
        try:
            async with asyncio.timeout(self._timeout_s):
                return await work.future
        except TimeoutError:
            if self._alive and self._moved_at <= begun:  # in all this time it finished nothing
                log.error("the JSON worker hangs, it is ended", pid=self._process.pid)
                self._process.kill()
            self._give_back_unclaimed(work)
            raise DeadlineExceeded("large JSON was not parsed or written in time") from None
        except asyncio.CancelledError:
            self._give_back_unclaimed(work)
            raise

    def _give_back_unclaimed(self, work: _Work) -> None:
        """Return the slot of an answer that came in the moment in which its client gave up."""
        future = work.future
        if future.done() and not future.cancelled() and future.exception() is None:
            self.arena.slots.give_back(work.slot)

    def _collect(self) -> None:
        for completion in self._link.completions():
            self._moved_at = self._loop.time()
            view = self._link.responses.view(completion.position, completion.length)
            data = bytes(view)
            self._link.responses.release_to(completion.position, completion.length)
            work = self._work.pop(completion.request_id, None)
            if work is not None:
                self._finish(work, completion, data)

    def _finish(self, work: _Work, completion: Completion, data: bytes) -> None:
        if work.future.done():  # the client has gone
            self.arena.slots.give_back(work.slot)
        elif completion.status == Status.OK:
            work.future.set_result(data)
        else:
            self.arena.slots.give_back(work.slot)
            work.future.set_exception(BadRequest(data.decode(errors="replace")))

    def _hear(self) -> None:
        try:
            self._control.receive()
            self._collect()
            self._control.send(SpaceFreed())
        except BlockingIOError:
            return
        except PeerGone:
            self._loop.remove_reader(self._control.sock)

    def _process_ended(self, status: int) -> None:
        self._collect()
        running = self._link.running()
        self._alive = False
        self._loop.remove_reader(self._link.completion_bell.fd)
        self._loop.remove_reader(self._control.sock)
        self._control.close()
        self._loop.run_in_executor(None, self._link.close)
        if self._stopping:
            self._ended.set()
            return
        log.warning("the JSON worker ended", pid=self._process.pid, how=describe_exit(status))
        early = self._loop.time() - self._started_at < _LONG_PAUSE_S
        self._early_deaths = self._early_deaths + 1 if early else 0
        hopeless = self._early_deaths >= _HOPELESS
        for number, work in list(self._work.items()):
            work.deaths += number in running
            if work.future.done() or work.deaths > 1 or hopeless:
                del self._work[number]
                self.arena.slots.give_back(work.slot)
                if not work.future.done():
                    work.future.set_exception(InferenceFailed("the JSON worker died of this JSON"))
        pause = _LONG_PAUSE_S if hopeless else _PAUSE_S if early else 0.0
        self._restart = self._loop.call_later(pause, self._start_again)

    async def stop(self) -> None:
        """End the child."""
        self._stopping = True
        if self._restart is not None:
            self._restart.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._alive:
            self._process.kill()
            await self._ended.wait()
