"""A worker as the supervisor sees it: one child process, its link, its control channel.

Owns the process from spawn to reaping, the requests that it holds, and at most one load under way.
Never waits for the process: descriptors tell. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gpu_worker.ipc import messages
from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import SupervisorEnd
from gpu_worker.ipc.load_folder import remove_left_load_folders
from gpu_worker.ipc.vocabulary import ProtocolError
from supervisor.errors import DeviceRefusedError, VersionFailed
from supervisor.kept.workers import KeptWorker
from supervisor.workers.events import Holder, WorkerEvents, WorkerState
from supervisor.workers.pending_load import PendingLoad
from supervisor.workers.port import WorkerPort
from supervisor.workers.process import ChildProcess, describe_exit

log = structlog.get_logger()

# Gives channel and process; is told whom to call when the process has ended, with its status.
Begin = Callable[[SupervisorEnd, Callable[[int], None]], tuple[ControlChannel, ChildProcess]]


class WorkerHandle(WorkerPort):
    """One worker process, and the port through which it is sent requests."""

    def __init__(
        self,
        number: int,
        device_index: int,
        device: str,
        link: SupervisorEnd,
        events: WorkerEvents[WorkerHandle],
        begin: Begin,
    ) -> None:
        """Take the link over, and have `begin` start the process, or find it.

        Raises:
            OSError: the process cannot be started, or is not there.

        """
        self.device_index = device_index
        self.framework = ""
        self.device_name = device
        self.state = WorkerState.STARTING
        self.refusal = ""
        self.idle_bytes = 0  # of memory of its own, without a version
        self.emptied_bytes = 0  # the same, when it first gave back what versions had left
        self.grown_bytes = 0  # by which it has more by now, without a version
        self.version_bytes = 0  # that the last version loaded took at most
        self.device_bytes = 0  # of the device that its versions took; its process keeps them
        self.unloading = 0  # times that it has been told to give something up and has yet to
        self._events = events
        loop = asyncio.get_running_loop()
        self._loading: PendingLoad | None = None
        self._ended = asyncio.Event()
        self._fronts: set[int] = set()  # that are attached
        self.started_at = loop.time()
        try:
            self._control, self._process = begin(link, self._process_ended)
        except OSError:
            link.close()
            raise
        super().__init__(number, self._process.pid, device, link, events)
        loop.add_reader(self._control.sock, self._hear)

    def __repr__(self) -> str:
        return f"<worker {self.number} {self.device} pid {self.pid} {self.state.value}>"

    def _become(self, state: WorkerState) -> None:
        if self.state is not WorkerState.ENDED:
            self.state = state
            self._events.worker_changed(self)

    # Loading

    def reserve(self) -> None:
        """Take this spare for a load, so that nobody else does."""
        assert self.state is WorkerState.IDLE, self
        self._become(WorkerState.LOADING)

    async def load(
        self,
        load: messages.Load,
        fds: tuple[int, int],
        timeout_s: float,
        on_warming: Callable[[], None] = lambda: None,
    ) -> messages.Loaded:
        """Load a version into this worker, in place of what it holds.

        Raises:
            VersionFailed: the version could not be loaded, crashed the worker, or took too long;
                in the last two cases the process has ended.

        """
        if self.state is not WorkerState.LOADING:
            raise VersionFailed("crash", "the worker ended before the load began")
        self._loading = PendingLoad(load.load_id, on_warming)
        self.load_id = load.load_id
        try:
            self._control.send(load, fds)
            async with asyncio.timeout(timeout_s):
                loaded = await self._loading.done()
            self.version_bytes = max(0, loaded.memory_bytes - self.idle_bytes)
        except TimeoutError:
            self.abort()
            await self._ended.wait()
            raise VersionFailed(
                "hang", f"the load gave no answer within {timeout_s:g} s; the worker was ended"
            ) from None
        except VersionFailed:
            self._become(WorkerState.IDLE)
            raise
        except Exception as error:
            self.kill()  # in which state it is nobody knows
            raise VersionFailed("crash", f"the load could not be sent: {error!r}") from error
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            self._loading = None
        return loaded

    def hold(self, lane: Holder) -> None:
        """Enter a lane, after a load."""
        self.lane = lane
        self._become(WorkerState.HOLDING)

    def set_free(self) -> None:
        """Leave the lane, or give up a load that is not wanted: become a spare."""
        self.lane = None
        self.unload()
        self._become(WorkerState.IDLE)

    def unload(self) -> None:
        """Have its version given up; of a spare, what it keeps of its memory for the next one."""
        self._say(messages.Unload())
        self.unloading += 1

    # From one program to the next

    def keep(self) -> KeptWorker:
        """Give what another program needs to go on with it."""
        rings, submissions, completions = self.link_fds()
        return KeptWorker(
            self.number, self.pid, self.device_index, self.device, self.device_name,
            self.framework, self.state.value, self.load_id, self.idle_bytes, self.emptied_bytes,
            self.grown_bytes, self.version_bytes, self.device_bytes, self.unloading,
            self.answered, self.stale, self.marks,
            rings, submissions, completions, self._control.sock.fileno(),
        )  # fmt: skip

    def take_up(self, kept: KeptWorker) -> None:
        """Go on with what another program knew of it."""
        self.device_name, self.framework = kept.device_name, kept.framework
        self.state, self.load_id = WorkerState(kept.state), kept.load_id
        self.idle_bytes, self.version_bytes = kept.idle_bytes, kept.version_bytes
        self.emptied_bytes, self.grown_bytes = kept.emptied_bytes, kept.grown_bytes
        self.device_bytes, self.unloading = kept.device_bytes, kept.unloading
        self.answered, self.stale = kept.answered, kept.stale
        self.marks.add(kept.marks)
        self.last_progress = self._loop.time()  # nobody could have seen any meanwhile

    # Further fronts

    def attach(self, front: int, fds: tuple[int, int, int, int]) -> None:
        """Have the worker serve a front's link: its rings, arena and doorbells."""
        self._fronts.add(front)
        self._say(messages.Attach(front), fds)

    def detach(self, front: int) -> None:
        """Have the worker give up the link of a front that has ended."""
        if front in self._fronts:
            self._fronts.discard(front)
            self._say(messages.Detach(front))

    def space_freed(self, front: int) -> None:
        """Tell the worker that a front has released its answers."""
        if front in self._fronts:
            self._say(messages.SpaceFreed(front))

    def _say(self, message: messages.Message, fds: tuple[int, ...] = ()) -> None:
        """Send a message; a worker that does not read is ended."""
        if self.state is WorkerState.ENDED:
            return
        try:
            self._control.send(message, fds)
        except PeerGone:
            pass  # its end is about to be heard of
        except BlockingIOError:
            self.abort()

    def broken(self, error: ValueError) -> None:
        """End a worker that wrote nonsense into its rings."""
        super().broken(error)
        self.abort()

    # Control channel

    def _hear(self) -> None:
        try:
            while True:
                message, _ = self._control.receive()
                self._obey(message)
        except BlockingIOError:
            return
        except PeerGone:
            self._loop.remove_reader(self._control.sock)  # the pidfd will tell the rest
        except ProtocolError as error:
            log.error("a worker broke its protocol, it is ended", worker=self.number, reason=error)
            self.abort()

    def _obey(self, message: messages.Message) -> None:
        match message:
            case messages.Hello():
                self.framework, self.device_name = message.framework, message.device
                self.idle_bytes = message.memory_bytes
                self._become(WorkerState.IDLE)
            case messages.DeviceRefused():
                self.refusal = message.reason
            case messages.Warming() | messages.Loaded() | messages.LoadFailed():
                if self._loading is not None:
                    self._loading.hear(message)
            case messages.NeedSpace(link=0):
                self.collect()  # releases every response that is there
                self._say(messages.SpaceFreed())
            case messages.NeedSpace(link=front):
                self._events.worker_needs_space(self, front)
            case messages.Unloaded():
                self.unloading -= 1
                if self.version_bytes:  # what is filled once has been
                    self.emptied_bytes = self.emptied_bytes or message.memory_bytes
                    self.grown_bytes = message.memory_bytes - self.emptied_bytes
                self._events.worker_changed(self)
            case _:
                raise ProtocolError(f"a supervisor does not take {message}")

    # The end

    def _process_ended(self, status: int) -> None:
        """Tell everybody, give everything back."""
        self._hear()  # a refusal may still wait
        self.collect()  # answers that were given before the end count
        was, self.state = self.state, WorkerState.ENDED
        how = describe_exit(status)
        if self._loading is not None:
            self._loading.fail("crash", f"the worker ended while it loaded: {how}")
            self._loop.run_in_executor(None, remove_left_load_folders)
        self._loop.remove_reader(self._control.sock)
        self._control.close()
        self._ended.set()
        self._events.worker_ended(self)
        self.close()
        level = log.info if status == 0 else log.warning
        level("worker ended", worker=self.number, pid=self.pid, was=was.value, how=how)

    @property
    def was_loading(self) -> bool:
        """Say whether a load was under way (also just after the end)."""
        return self._loading is not None

    def start_error(self) -> DeviceRefusedError | None:
        """Give the reason why the device was refused, if it was."""
        return DeviceRefusedError(f"{self.device}: {self.refusal}") if self.refusal else None

    @property
    def ending(self) -> bool:
        """Say whether it has been told to end, and still is to be made to."""
        return self._process.aborted

    def abort(self) -> None:
        """End a worker that hangs, with a stack dump in the log."""
        self._process.abort()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def stop(self, timeout_s: float) -> None:
        """Ask the process to end, and see to it."""
        if self.state is not WorkerState.ENDED:
            try:
                self._control.send(messages.Stop())
            except (PeerGone, BlockingIOError):
                self.kill()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            self.kill()
            await self._ended.wait()
