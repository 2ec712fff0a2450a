"""The pool: all workers, on all devices, as many as are needed.

Owns which workers exist, who replaces one that ended and when, and who may take a spare. Knows
nothing of models: what a worker holds is its lane's and the model manager's business. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from supervisor.errors import DeviceRefusedError
from supervisor.workers.events import Answered, Holder, WorkerEvents, WorkerState
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.renewal import Renewal
from supervisor.workers.restart_policy import Exit, ExitKind, restart_delay
from supervisor.workers.spare_memory import SpareMemory

log = structlog.get_logger()

_WATCH_EVERY_S: Final = 0.5
_REMEMBERED_EXITS: Final = 64

Spawn = Callable[[int, int, str, WorkerEvents[WorkerHandle]], Awaitable[WorkerHandle]]
OnAnswered = Callable[[WorkerHandle, Sequence[Answered]], None]
Ended = Callable[[WorkerHandle], None]
NeedsSpace = Callable[[WorkerHandle, int], None]


class WorkerPool:
    """Keeps each device at the number of workers that is demanded."""

    def __init__(
        self,
        devices: Sequence[str],
        spawn: Spawn,
        hang_timeout_s: float,
        start_timeout_s: float,
        renewal: Renewal,
        spare_memory: SpareMemory,
    ) -> None:
        self.devices = tuple(devices)
        self.workers: list[WorkerHandle] = []
        self.restarts = 0
        self.refused: DeviceRefusedError | None = None
        self.on_answered: OnAnswered = lambda *_: None
        self.on_ended: Ended = lambda *_: None
        self.on_started: Callable[[WorkerHandle], None] = lambda *_: None
        self.on_needs_space: NeedsSpace = lambda *_: None
        self.has_answered: Callable[[WorkerHandle], bool] = lambda worker: worker.answered > 0
        self._spawn = spawn
        self.spare_memory = spare_memory
        self._renewal = renewal
        self._hang_timeout_s = hang_timeout_s
        self._start_timeout_s = start_timeout_s
        self._demand = [0] * len(devices)
        self._exits = [deque[Exit](maxlen=_REMEMBERED_EXITS) for _ in devices]
        self._respawns: dict[int, asyncio.TimerHandle] = {}
        self._starting: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next = 1  # number of the next worker
        self._leaving: set[asyncio.Future[None]] = set()  # stops of surplus workers under way
        self._loop = asyncio.get_running_loop()
        self._changed: asyncio.Future[None] = self._loop.create_future()
        self._stopping = False
        self._up = False  # each device has been usable
        self._overdue: set[WorkerHandle] = set()  # told to end, and still there
        self._watch = self._loop.call_later(_WATCH_EVERY_S, self._look_for_hangs)

    # From one program to the next

    @property
    def at_rest(self) -> bool:
        """Say whether no worker is about to be started or ended."""
        ending = any(worker.ending for worker in self.workers)
        return not (ending or any(self._starting.values()) or self._overdue or self._leaving)

    @property
    def next_number(self) -> int:
        """Give the number of the next worker."""
        return self._next

    def take_up(self, workers: Sequence[WorkerHandle], next_number: int, restarts: int) -> None:
        """Go on with the workers of another program."""
        self.workers.extend(workers)
        self.spare_memory.take_up(workers)
        self._next = next_number
        self.restarts = restarts
        self._up = True

    # Demand

    def demand(self, counts: Sequence[int]) -> None:
        """Set how many workers each device shall have; starts what is missing, ends surplus."""
        self._demand = list(counts)
        for device_index in range(len(self.devices)):
            self._level(device_index)

    def on_device(self, device_index: int) -> list[WorkerHandle]:
        """List the living workers of a device."""
        return [worker for worker in self.workers if worker.device_index == device_index]

    def holding(self, holder: Holder) -> list[WorkerHandle]:
        """List the living workers that hold a version."""
        return [worker for worker in self.workers if worker.lane is holder]

    def _level(self, device_index: int) -> None:
        if self._stopping:
            return
        present, wanted = self.on_device(device_index), self._demand[device_index]
        for worker in self._renewal.done_with(present, wanted):
            self._let_go(worker)
        lasting = self._renewal.lasting(present)
        missing = wanted - len(lasting) - self._starting[device_index]
        for worker in lasting[::-1]:
            if missing >= 0:
                break
            if worker.state is WorkerState.IDLE:
                self._let_go(worker)
                missing += 1
        if missing <= 0 or device_index in self._respawns:
            return
        delay = restart_delay(self._exits[device_index], self._loop.time())
        if delay:
            log.warning(
                "workers keep ending, the next start waits",
                device=self.devices[device_index], seconds=delay,
            )  # fmt: skip
            self._respawns[device_index] = self._loop.call_later(delay, self._respawn, device_index)
            return
        for _ in range(missing):
            self._begin(device_index)

    def _let_go(self, worker: WorkerHandle) -> None:
        self.workers.remove(worker)
        stop = asyncio.ensure_future(worker.stop(10.0))
        self._leaving.add(stop)
        stop.add_done_callback(self._leaving.discard)

    def _respawn(self, device_index: int) -> None:
        del self._respawns[device_index]
        lasting = len(self._renewal.lasting(self.on_device(device_index)))
        if lasting + self._starting[device_index] < self._demand[device_index]:
            self._begin(device_index)
        self._level(device_index)

    def _begin(self, device_index: int) -> None:
        self._starting[device_index] += 1
        task = self._loop.create_task(self._start(device_index))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, device_index: int) -> None:
        number, self._next = self._next, self._next + 1
        try:
            worker = await self._spawn(number, device_index, self.devices[device_index], self)
        except OSError as error:
            log.error("a worker cannot be started", reason=error.strerror)
            self._note_exit(device_index, ExitKind.STARTING)
            if device_index not in self._respawns:
                self._respawns[device_index] = self._loop.call_later(
                    1.0, self._respawn, device_index
                )
            return
        finally:
            self._starting[device_index] -= 1
        self.workers.append(worker)
        self.on_started(worker)

    # Spares

    def take_spare(self, device_index: int, model: str) -> WorkerHandle | None:
        """Reserve an idle worker of a device for a load of a model, or give None.

        The one that holds most of the device's memory: nobody else could use that.
        """
        idle = [one for one in self.on_device(device_index) if one.state is WorkerState.IDLE]
        if not idle:
            return None
        worker = max(idle, key=lambda one: one.device_bytes)
        self.spare_memory.expect(worker, model)
        worker.reserve()
        return worker

    async def change(self) -> None:
        """Wait until some worker's state has changed."""
        await asyncio.shield(self._changed)

    async def ready(self) -> None:
        """Wait until each device has a worker that is up.

        Raises:
            DeviceRefusedError: a device cannot be used; says what is missing.

        """
        while True:
            up = {w.device_index for w in self.workers if w.state is not WorkerState.STARTING}
            if self.refused is not None:
                raise self.refused
            if all(index in up or not want for index, want in enumerate(self._demand)):
                self._up = True
                return
            await self.change()

    # What workers tell

    def worker_answered(self, worker: WorkerHandle, answers: Sequence[Answered]) -> None:
        """Pass answers on."""
        self.on_answered(worker, answers)

    def worker_changed(self, worker: WorkerHandle) -> None:
        """Wake whoever waits for a spare."""
        if worker.state is WorkerState.IDLE:
            log.debug("worker is idle", worker=worker.number, pid=worker.pid)
        self.spare_memory.note(worker)
        if self._renewal.note(worker):
            self._level(worker.device_index)
        self._tell()

    def worker_needs_space(self, worker: WorkerHandle, front: int) -> None:
        """Pass it on."""
        self.on_needs_space(worker, front)

    def worker_ended(self, worker: WorkerHandle) -> None:
        """Forget a dead worker, have its requests sent again, see to its replacement."""
        self._overdue.discard(worker)
        self._renewal.forget(worker)
        self.spare_memory.forget(worker)
        self.refused = worker.start_error() or self.refused
        expected = worker not in self.workers
        if not expected:
            self.workers.remove(worker)
            if worker.was_loading:
                kind = ExitKind.LOADING
            elif not worker.framework:
                kind = ExitKind.STARTING
            else:
                kind = ExitKind.FRUITFUL if self.has_answered(worker) else ExitKind.BARREN
            self._note_exit(worker.device_index, kind)
            self.restarts += 1
        if not self._stopping:
            self.on_ended(worker)
        self._tell()
        if not expected and (self._up or not self.refused):
            self._level(worker.device_index)

    def _note_exit(self, device_index: int, kind: ExitKind) -> None:
        self._exits[device_index].append(Exit(self._loop.time(), kind))

    def _tell(self) -> None:
        done, self._changed = self._changed, self._loop.create_future()
        done.set_result(None)

    def _look_for_hangs(self) -> None:
        """End workers that hold requests, or start, without any sign of progress for too long."""
        self._watch = self._loop.call_later(_WATCH_EVERY_S, self._look_for_hangs)
        now = self._loop.time()
        for worker in self.workers:
            stuck = worker.is_stuck(now, self._hang_timeout_s)
            late = (
                worker.state is WorkerState.STARTING
                and now - worker.started_at > self._start_timeout_s
            )
            if stuck or late:
                log.error(
                    "worker gives no sign of life, it is ended",
                    worker=worker.number, pid=worker.pid, state=worker.state.value,
                    in_flight=len(worker.in_flight),
                )  # fmt: skip
                worker.last_progress = worker.started_at = now
                self.end_overdue(worker)

    def end_overdue(self, worker: WorkerHandle) -> None:
        """End a worker that has given no answer for too long."""
        self._overdue.add(worker)
        worker.abort()

    def overdue(self) -> list[str]:
        """Name the workers that are past their deadline and have not ended yet."""
        return sorted(f"{worker.number} (pid {worker.pid})" for worker in self._overdue)

    async def stop(self, timeout_s: float) -> None:
        """End all workers."""
        self._stopping = True
        self._watch.cancel()
        self.spare_memory.close()
        for timer in self._respawns.values():
            timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        workers, self.workers = self.workers, []
        await asyncio.gather(*(worker.stop(timeout_s) for worker in workers))
