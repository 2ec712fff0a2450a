"""All further fronts: kept running, kept told, and made to switch as one.

Owns the front processes and what was last said to them. A switch is held until every front has
stopped sending to the old version (`held`), so that none can answer from it once another has
answered from the new one (G1). A front that does not obey in time is ended. Runs on the
supervisor's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final

import structlog

from supervisor.access.caller import Caller
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.ledger import Ledger, mark_reload
from supervisor.fronts import messages
from supervisor.fronts.handle import FrontHandle
from supervisor.fronts.stand_in import StandIn
from supervisor.fronts.state import lane_states, model_state
from supervisor.fronts.totals import Totals
from supervisor.fronts.worker_links import WorkerLinks
from supervisor.settings import Settings
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.pool import WorkerPool
from supervisor.workers.restart_policy import Exit, ExitKind, restart_delay

log = structlog.get_logger()

_OBEY_S: Final = 2.0  # within which a front stops sending to a version; else it is ended
_SILENCE_S: Final = 10.0  # without a word, though each says something every second
_WATCH_EVERY_S: Final = 1.0
_SHORT_LIFE_S: Final = 10.0  # a front that ends earlier is started again with a delay
_REMEMBERED_EXITS: Final = 16

PassOn = Callable[[socket.socket, Caller | None], None]


class Fronts:
    """The fronts beside the supervisor's own; with none, everything here is done at once."""

    def __init__(self, settings: Settings, pool: WorkerPool) -> None:
        self.running: list[FrontHandle] = []
        self._settings = settings
        self._pool = pool
        self._pass_on: PassOn = lambda sock, _: sock.close()
        self._stand_in = StandIn(socket.socket.close)
        self._loop = asyncio.get_running_loop()
        self._listeners: list[Sequence[socket.socket]] = []
        self._published: dict[str, Dispatcher] = {}
        self.totals = Totals(self.running, self._published)
        self._held: set[str] = set()
        self._switching: dict[str, asyncio.Lock] = {}
        self._exits: list[Exit] = []
        self._numbers = 0
        self._timers: set[asyncio.TimerHandle] = set()
        self._draining = self._stopping = self._resting = False
        self._ours = True
        self.links = WorkerLinks(self.running, pool)
        pool.has_answered = lambda worker: self.totals.worker_tally(worker).answered > 0

    # Processes

    def start(
        self,
        listeners: Sequence[Sequence[socket.socket]],
        pass_on: PassOn,
        *,
        ours: bool,
    ) -> None:
        """Start one front for each of `listeners`; those that are not `ours` are systemd's.

        `pass_on` takes the connections of clients that want more than an inference, and, with None
        for the caller, of those that no front has accepted.
        """
        self._ours = ours
        self._pass_on = pass_on
        self._stand_in = StandIn(lambda sock: pass_on(sock, None))
        self._listeners = [*listeners]
        if listeners:
            self._later(_WATCH_EVERY_S, self._look_for_silence)
        for sockets in listeners:
            self._begin(sockets)

    def _begin(self, listeners: Sequence[socket.socket]) -> None:
        if self._resting or any(front.listeners is listeners for front in self.running):
            return
        self._numbers += 1
        self._stand_in.begin(listeners)
        try:
            front = FrontHandle(
                self._numbers, self._settings, listeners, self, self.links, ours=self._ours
            )
        except OSError as error:
            log.error("a front cannot be started", reason=error.strerror)
            self._later(_SHORT_LIFE_S, lambda: self._begin(listeners))
            return
        self.running.append(front)
        for worker in self._pool.workers:
            front.say(messages.WorkerUp(worker.number, worker.pid, worker.device))
        for dispatcher in self._published.values():
            self._tell(front, dispatcher)
        if self._draining:
            front.say(messages.Closing())
        front.serve_when_up()

    def _later(self, delay_s: float, do: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            do()

        timer = self._loop.call_later(delay_s, run)
        self._timers.add(timer)

    def _look_for_silence(self) -> None:
        self._later(_WATCH_EVERY_S, self._look_for_silence)
        now = self._loop.time()
        for front in self.running:
            if now - front.last_heard > self._patience_s(front):
                log.error("a front gives no sign of life, it is ended", front=front.number)
                front.last_heard = now
                front.abort()

    def _patience_s(self, front: FrontHandle) -> float:
        return _SILENCE_S if front.listening else self._settings.start_timeout_ms / 1000

    def front_ended(self, front: FrontHandle) -> None:
        """Have its links given up, keep its counts, and start another in its place."""
        self.running.remove(front)
        for worker in self._pool.workers:
            worker.detach(front.number)
        self.totals.keep(front)
        if self._stopping:
            return
        self._stand_in.begin(front.listeners)
        if self._resting:
            return
        now = self._loop.time()
        fruitful = front.listening and now - front.started_at > _SHORT_LIFE_S
        self._exits.append(Exit(now, ExitKind.FRUITFUL if fruitful else ExitKind.BARREN))
        del self._exits[:-_REMEMBERED_EXITS]
        self._later(restart_delay(self._exits, now), lambda: self._begin(front.listeners))

    def front_listens(self, front: FrontHandle) -> None:
        """Leave its clients to it, unless it has been told to end meanwhile."""
        if not (self._stopping or self._resting):
            self._stand_in.end(front.listeners)

    def drain(self) -> None:
        """Have all fronts end each connection with its next answer; all else goes on."""
        self._draining = True
        for front in self.running:
            front.say(messages.Closing())

    async def rest(self, timeout_s: float) -> None:
        """Have all fronts finish their requests and end; the supervisor accepts in their place."""
        self._resting = True
        for sockets in self._listeners:
            self._stand_in.begin(sockets)
        await asyncio.gather(*(one.stop(timeout_s, for_good=False) for one in [*self.running]))

    def pause(self) -> None:
        """Accept nothing in the place of fronts that rest."""
        for sockets in self._listeners:
            self._stand_in.end(sockets)

    def go_on(self) -> None:
        """Start fronts again that were put to rest."""
        self._resting = False
        for sockets in self._listeners:
            self._begin(sockets)

    def fds(self) -> list[list[int]]:
        """List the descriptors of the sockets of each front."""
        return [[sock.fileno() for sock in sockets] for sockets in self._listeners]

    async def stop(self, timeout_s: float) -> None:
        """Have all fronts finish their requests and end."""
        self._stopping = True
        for timer in self._timers:
            timer.cancel()
        for sockets in self._listeners:  # else who connects from now on would wait in vain
            self._stand_in.end(sockets)
            for sock in sockets:
                sock.close()
        self._listeners = []
        await asyncio.gather(*(front.stop(timeout_s) for front in self.running))

    async def reread(self) -> None:
        """Have all fronts read the files of access anew."""
        for front in self.running:
            front.say(messages.Reread())

    # Models

    def publish(self, dispatcher: Dispatcher) -> None:
        """Tell what a model's lanes are now, and while a switch is held that it is."""
        if not self._listeners:
            return
        self._published[dispatcher.model] = dispatcher
        self.totals.settle(dispatcher)
        for front in self.running:
            self._tell(front, dispatcher)

    def _tell(self, front: FrontHandle, dispatcher: Dispatcher) -> None:
        for lane in lane_states(dispatcher):
            front.say(lane)
        front.say(self._state(dispatcher, 0))

    def _state(self, dispatcher: Dispatcher, order: int) -> messages.ModelState:
        return model_state(dispatcher, order, held=dispatcher.model in self._held)

    @contextlib.asynccontextmanager
    async def held(self, dispatcher: Dispatcher) -> AsyncIterator[None]:
        """Have no further front send anything to the serving lane, until this ends.

        Requests that come meanwhile wait, whatever is switched within. One holder per model at a
        time. Without further fronts nothing is waited for.
        """
        if not self._listeners:
            yield
            return
        model = dispatcher.model
        async with self._switching.setdefault(model, asyncio.Lock()):
            self._published[model] = dispatcher
            self._held.add(model)
            try:
                await self._all_obey(lambda order: self._state(dispatcher, order))
                yield
            finally:
                self._held.discard(model)
                self.publish(dispatcher)

    async def _all_obey(self, make: Callable[[int], messages.ModelState]) -> None:
        orders = {front.order(make): front for front in self.running}
        # Those that are not up yet hear of it before they may listen.
        late = {order for order, front in orders.items() if front.serves}
        if late:
            _, late = await asyncio.wait(late, timeout=_OBEY_S)
        for order in late:
            front = orders[order]
            log.error("a front does not stop for a switch, it is ended", front=front.number)
            front.kill()
        if late:
            await asyncio.wait(late)

    @contextlib.contextmanager
    def reloading(self, ledgers: Iterable[Ledger]) -> Iterator[None]:
        """Have requests that are under way meanwhile counted as such; `ledgers` are ours."""
        ledgers = list(ledgers)
        self._mark_reload(ledgers, under_way=True)
        try:
            yield
        finally:
            self._mark_reload(ledgers, under_way=False)

    def _mark_reload(self, ledgers: Iterable[Ledger], *, under_way: bool) -> None:
        mark_reload(ledgers, under_way=under_way)
        for front in self.running:
            front.say(messages.Reloading(under_way))

    async def drained(self, lane: Lane) -> None:
        """Wait until no further front has a request left in a lane."""
        await asyncio.gather(
            *(
                front.order(lambda order: messages.Drain(order, lane.number))
                for front in self.running
            )
        )

    def worker_gone(self, worker: WorkerHandle) -> None:
        """Tell that a worker has ended."""
        self.totals.forget_worker(worker.number)
        for front in self.running:
            front.say(messages.WorkerGone(worker.number))

    def front_passes_on(self, sock: socket.socket, caller: Caller) -> None:
        """Serve a client here."""
        self._pass_on(sock, caller)
