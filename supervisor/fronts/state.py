"""What a further front must know of a model, taken from its dispatcher.

Owns the form. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.fronts.messages import LaneState, ModelState


def model_state(dispatcher: Dispatcher, order: int, *, held: bool) -> ModelState:
    """Say which lanes there are."""
    serving, retained = dispatcher.serving, dispatcher.retained
    return ModelState(
        order,
        dispatcher.model,
        held,
        dispatcher.generations.number,
        dispatcher.generations.why_not,
        0 if serving is None else serving.number,
        0 if retained is None else retained.number,
    )


def lane_states(dispatcher: Dispatcher) -> list[LaneState]:
    """Say what the lanes are, to be told before the model's state."""
    return [_lane_state(lane) for lane in dispatcher.generations.lanes()]


def _lane_state(lane: Lane) -> LaneState:
    settings = lane.settings
    return LaneState(
        lane.number,
        lane.model,
        lane.version,
        lane.generation,
        lane.contract.to_json(),
        {
            "timeout_ms": settings.timeout_ms,
            "queue_limit": settings.queue_limit,
            "max_in_flight": settings.max_in_flight,
        },
        [[worker.number, worker.load_id] for worker in lane.workers],
        lane.closing,
    )
