"""The mirror: the models of a further front, as the supervisor tells them.

Owns a dispatcher per model and the lanes that they have. Decides nothing: what serves is what the
supervisor last said. Runs on the front's event loop.
"""

from __future__ import annotations

from collections.abc import Callable

from gpu_worker.ipc.arena import RequestArena
from gpu_worker.ipc.tensors import Contract
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.ledger import mark_reload
from supervisor.fronts import messages
from supervisor.lifecycle.states import VersionRecord
from supervisor.repository.model_settings import ModelSettings
from supervisor.workers.port import WorkerPort


class Mirror:
    """Models and their lanes."""

    def __init__(self, arena: RequestArena, front: int = 0) -> None:
        """`front` is the front's number: each prefers another of equally busy workers."""
        self._front = front
        self._arena = arena
        self._dispatchers: dict[str, Dispatcher] = {}
        self._lanes: dict[int, Lane] = {}

    def dispatcher(self, model: str) -> Dispatcher | None:
        """Give a model's dispatcher, if it has ever served."""
        return self._dispatchers.get(model)

    def set_lane(self, state: messages.LaneState, find: Callable[[int], WorkerPort | None]) -> None:
        """Know a lane and its workers.

        One that ended, or was taken from the lane, leaves it once it holds nothing.
        """
        lane = self._lanes.get(state.number)
        if lane is None:
            lane = self._lanes[state.number] = Lane(
                VersionRecord(state.model, state.version, ""),
                Contract.from_json(state.contract),
                ModelSettings(**state.limits),  # type: ignore[arg-type]  # all of them are numbers
                [],
                number=state.number,
            )
        lane.generation = state.generation
        lane.closing = state.closing
        loads = {number: load_id for number, load_id in state.workers}  # noqa: C416 - lists, not pairs
        lane.workers = [one for one in lane.workers if one.number in loads or one.in_flight]
        turn = self._front % max(len(loads), 1)
        for number, load_id in [*loads.items()][turn:] + [*loads.items()][:turn]:
            port = find(number)
            if port is None:
                continue
            port.lane, port.load_id = lane, load_id
            if port not in lane.workers:
                lane.workers.append(port)
                self._pump(state.model)

    def _pump(self, model: str) -> None:
        dispatcher = self._dispatchers.get(model)
        if dispatcher is not None:
            dispatcher.pump()

    def set_model(self, state: messages.ModelState) -> None:
        """Switch to the lanes that the supervisor names."""
        dispatcher = self._dispatchers.get(state.model)
        if dispatcher is None:
            dispatcher = self._dispatchers[state.model] = Dispatcher(state.model, self._arena)
        serving, retained = self._lanes.get(state.serving), self._lanes.get(state.retained)
        if serving is None:
            if dispatcher.serving is not None:
                dispatcher.stop_serving(state.why_not)
        elif serving is not dispatcher.serving:
            if retained is not None and dispatcher.serving is None:
                dispatcher.switch(retained, retained.generation)  # this front has just started
            serving.idle.set()  # whoever waits to reclaim it need not wait for its traffic
            dispatcher.switch(serving, state.generation)
        if dispatcher.retained is not retained:
            dispatcher.forget_retained()
        # A front that has just started has seen neither switches nor stops.
        dispatcher.generations.number = state.generation
        dispatcher.generations.why_not = state.why_not
        dispatcher.held = state.held
        dispatcher.pump()
        self._drop_lanes(state.model)

    def _drop_lanes(self, model: str) -> None:
        """Forget lanes that have gone and are empty; the others go when they are drained."""
        kept = self._dispatchers[model].generations.lanes()
        for number, lane in list(self._lanes.items()):
            if lane.model == model and lane not in kept and not lane.in_flight:
                del self._lanes[number]

    async def drained(self, number: int) -> None:
        """Wait until a lane has no request left, or serves again; an unknown one has none."""
        lane = self._lanes.get(number)
        dispatcher = self._dispatchers.get(lane.model) if lane is not None else None
        if lane is None or dispatcher is None:
            return
        if lane is dispatcher.serving and not dispatcher.held:
            return
        await lane.drained()
        self._drop_lanes(lane.model)

    def mark_reload(self, *, under_way: bool) -> None:
        """Have requests that are under way meanwhile counted as such."""
        mark_reload((one.ledger for one in self._dispatchers.values()), under_way=under_way)

    def counted(self) -> list[messages.ModelCounted]:
        """Say what this front has counted for each model."""
        return [
            messages.ModelCounted(
                model,
                one.ledger.snapshot(one.serving, one.retained, one.queued).to_dict(),
                [[list(shape) for shape in shapes] for shapes in one.recent_shapes.list()],
            )
            for model, one in self._dispatchers.items()
        ]
