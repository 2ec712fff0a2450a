"""Keeping: writes down everything that serves, for the program that takes over.

Owns nothing and changes nothing, so that it can be done once for a trial and once in earnest. Runs
on the supervisor's event loop, in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gpu_worker.ipc.protocol import PROTOCOL
from gpu_worker.ipc.tensors import Contract
from supervisor import __version__
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.request import InferRequest, next_id
from supervisor.http.connection import Connection
from supervisor.kept.models import KeptLane, KeptModel, KeptReloads, KeptRequest, KeptStaged
from supervisor.kept.server import FORM, Kept, KeptArena, KeptSockets, KeptState
from supervisor.kept.slot import KeptSlot
from supervisor.lifecycle.loader import Loader
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.model_manager import ModelManager
from supervisor.parts import Parts
from supervisor.settings import Settings

# What the arena, the listening sockets and the workers' places hang on.
FIXED: Final = (
    "device", "arena_mb", "max_request_mb", "host", "port", "fronts", "model_repository",
)  # fmt: skip


def fixed_settings(settings: Settings) -> dict[str, str]:
    """Give the settings that an upgrade in place cannot change."""
    return {name: str(getattr(settings, name)) for name in FIXED}


def keep(parts: Parts, number: int, began_ns: int, state: KeptState | None) -> Kept:
    """Give the document."""
    own, ours = parts.server.sockets()
    operators = parts.server.operators
    sockets = KeptSockets([own, *parts.fronts.fds()], ours, operators.fds(), *operators.own())
    fixed = fixed_settings(parts.settings)
    return Kept(FORM, PROTOCOL, __version__, fixed, sockets, number, began_ns, state)


def keep_state(parts: Parts, clients: Iterable[Connection], *, ready: bool) -> KeptState:
    """Give what serves, and those clients, which are movable."""
    manager, pool, totals = parts.manager, parts.pool, parts.fronts.totals
    past, tallies = totals.keep_past()
    log = parts.server.front.access_log
    return KeptState(
        arena=KeptArena(parts.arena.segment.fd, [*parts.arena.slots.plan]),
        workers=[worker.keep() for worker in pool.workers],
        models=[_model(model, manager) for model in manager.models.values()],
        clients=[client.keep() for client in clients],
        children=[parts.json_worker.pid] if parts.json_worker.alive else [],
        passes=manager.passes,
        restarts=pool.restarts,
        next_worker=pool.next_number,
        next_request=next_id(),
        next_load=manager.lanes.loader.next_load,
        ended_fronts=past.to_dict(),
        tallies={number: (done.answered, done.stale) for number, done in tallies.items()},
        access_lines=b"" if log is None else log.waiting(),
        ready=ready,
    )


def _model(model: Model, manager: ModelManager) -> KeptModel:
    dispatcher, loader = model.dispatcher, manager.lanes.loader
    postponed = manager.room.postponed(model)  # the next program looks at the memory itself
    serving, retained = dispatcher.serving, dispatcher.retained
    past = dispatcher.ledger.snapshot(serving, retained, 0)
    reloads = model.reloads
    return KeptModel(
        name=model.name,
        generation=dispatcher.generations.number,
        why_not=dispatcher.generations.why_not,
        serving=None if serving is None else _lane(serving, loader),
        retained=None if retained is None else _lane(retained, loader),
        last_failure=model.last_failure,
        refused={token: why for token, why in model.refused.items() if token not in postponed},
        unloaded=model.unloaded,
        problem=model.problem,
        taken=[*model.footprint.taken],
        reloads=KeptReloads(
            dict(reloads.outcomes),
            dict(reloads.refusals),
            {phase: histogram.to_dict() for phase, histogram in reloads.phases.items()},
        ),
        history=[*model.history],
        statistics=past.to_dict(),
        shapes=dispatcher.recent_shapes.list(),
        requests=[*_requests(dispatcher)],
    )


def _lane(lane: Lane, loader: Loader) -> KeptLane:
    staged = loader.staged(lane)
    return KeptLane(
        lane.record,
        lane.contract.to_json(),
        lane.generation,
        lane.since,
        KeptStaged(
            staged.program_fd, staged.params_fd, staged.suffix, staged.digest, staged.size,
            staged.settings_data,
        ),
        [worker.number for worker in lane.workers],
    )  # fmt: skip


def _requests(dispatcher: Dispatcher) -> Iterator[KeptRequest]:
    serving = None if dispatcher.serving is None else dispatcher.serving.contract
    for lane in dispatcher.generations.lanes():
        for worker in lane.workers:
            for request in worker.in_flight.values():
                yield _request(request, lane, worker.number, serving)
        for request in lane.waiting:
            yield _request(request, lane, 0, serving)
    for request in dispatcher.queues()[0]:
        yield _request(request, None, 0, serving)


def _request(
    request: InferRequest, lane: Lane | None, worker: int, serving: Contract | None
) -> KeptRequest:
    return KeptRequest(
        id=request.id,
        slot=KeptSlot.of(request.slot),
        length=request.length,
        output_mask=request.output_mask,
        shapes=request.shapes,
        by_version=request.by_version,
        generation=0 if lane is None else lane.generation,
        deadline_ns=request.deadline_ns,
        enqueued_ns=request.enqueued_ns,
        submitted_ns=request.submitted_ns,
        crashes=request.crashes,
        answered=request.answered,
        worker=worker,
        contract=None if request.contract is serving else request.contract.to_json(),
    )


def listening(sockets: KeptSockets) -> list[int]:
    """List the descriptors that listen."""
    fds = [fd for front in sockets.fronts for fd in front] + sockets.operators
    return [*fds, sockets.admin] if sockets.admin >= 0 else fds


def descriptors(kept: Kept) -> list[int]:
    """List the descriptors that a document names."""
    state = kept.state
    fds = listening(kept.sockets)
    if state is not None:
        fds.append(state.arena.fd)
        for worker in state.workers:
            fds += worker.rings, worker.submissions, worker.completions, worker.control
        for model in state.models:
            for lane in (model.serving, model.retained):
                if lane is not None:
                    fds += lane.staged.program, lane.staged.params
        fds += [client.socket for client in state.clients]
    return fds
