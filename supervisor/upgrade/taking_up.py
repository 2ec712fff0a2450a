"""Taking up: rebuilds what another program has kept, and goes on with it.

Owns the order: clients first, who are held meanwhile, then in one step everything that can answer
them. Runs in the supervisor, once at start, on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress

from gpu_worker.ipc.tensors import Contract
from supervisor.access.caller import OPERATOR
from supervisor.dispatch.dispatcher import Dispatcher
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.dispatch.request import InferRequest, RequestState, begin_ids_at
from supervisor.dispatch.result import Answer
from supervisor.errors import SettingsError
from supervisor.fronts.statistics import FrontStatistics
from supervisor.http.connection import Connection
from supervisor.http.front import Front
from supervisor.kept.clients import KeptClient
from supervisor.kept.models import KeptLane, KeptModel, KeptRequest
from supervisor.kept.server import Kept, KeptState
from supervisor.lifecycle.demand import Need
from supervisor.lifecycle.loader import Loader
from supervisor.lifecycle.model import Model
from supervisor.parts import Parts
from supervisor.repository.model_settings import parse_model_settings
from supervisor.repository.staging import StagedVersion
from supervisor.settings import Settings
from supervisor.upgrade.keeping import fixed_settings
from supervisor.workers.handle import WorkerHandle
from supervisor.workers.process import ChildProcess
from supervisor.workers.start import take_up_worker
from supervisor.workers.tally import WorkerTally


def check(kept: Kept, settings: Settings) -> None:
    """Say whether this program, with its settings, can take over what is kept.

    Raises:
        SettingsError: a setting has changed that cannot change now.
        VersionRejected: a model's own settings mean nothing to this program.

    """
    now = fixed_settings(settings)
    changed = [name for name, value in now.items() if kept.settings.get(name) != value]
    if changed:
        raise SettingsError(f"{', '.join(changed)}: changing that takes a restart of the server")
    for model in kept.state.models if kept.state is not None else ():
        for lane in (model.serving, model.retained):
            if lane is not None:
                Contract.from_json(lane.contract)
                parse_model_settings(lane.staged.settings_data, settings)


def end_all(state: KeptState) -> None:
    """End all processes that were kept; waits for them, a moment each."""
    for pid in [worker.pid for worker in state.workers] + state.children:
        with suppress(ChildProcessError):  # it has been reaped, the number may be another's
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


async def take_up(parts: Parts, state: KeptState) -> None:
    """Go on with what is kept. The front is held; nobody is listened to yet.

    Raises:
        Exception: whatever does not fit; then there is nothing to go on with.

    """
    front = parts.server.front
    clients = [await _client(kept, front) for kept in state.clients]
    # From here on in one step: what workers have answered meanwhile finds whom it is for.
    taken = _models(parts, state)
    requests = {number: one for _, own in taken for number, one in own.items()}
    for kept, client in zip(state.clients, clients, strict=True):
        if client is not None and client in front.connections and kept.exchange is not None:
            client.take_up(kept.exchange, requests)
    for dispatcher, own in taken:
        for request in own.values():
            if request.reply is _nobody:  # its client has gone
                dispatcher.abandon(request)
        dispatcher.pump()  # what was queued
    for pid in state.children:
        with suppress(OSError):  # it has ended, and somebody has seen that
            ChildProcess(pid, lambda _: None).kill()
    if front.access_log is not None:
        front.access_log.take_up(state.access_lines)


async def _client(kept: KeptClient, front: Front) -> Connection | None:
    """Go on with a connection; None: the client has gone."""
    sock = socket.socket(fileno=kept.socket)
    sock.setblocking(False)
    caller = OPERATOR if kept.operator else None
    try:
        _, connection = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Connection(front, caller, requests=kept.requests, held=kept.held), sock
        )
    except OSError:
        sock.close()
        return None
    return connection


Taken = tuple[Dispatcher, dict[int, InferRequest]]  # a model's, and its requests by their ids


def _models(parts: Parts, state: KeptState) -> list[Taken]:
    """Rebuild workers, models and requests."""
    manager, pool = parts.manager, parts.pool
    workers = {kept.number: take_up_worker(kept, pool) for kept in state.workers}
    pool.take_up([*workers.values()], state.next_worker, state.restarts)
    begin_ids_at(state.next_request)
    manager.lanes.loader.next_load = state.next_load
    manager.passes = state.passes
    manager.repository_problem = ""
    parts.fronts.totals.take_up(
        FrontStatistics.from_dict(state.ended_fronts),
        {number: WorkerTally(0, *counts) for number, counts in state.tallies.items()},
    )
    taken = [_model(kept, parts, workers) for kept in state.models]
    manager.demand.level()  # the first look at the repository may be long in coming
    return taken


def _model(kept: KeptModel, parts: Parts, workers: Mapping[int, WorkerHandle]) -> Taken:
    manager, loader = parts.manager, parts.manager.lanes.loader
    dispatcher = Dispatcher(kept.name, parts.arena)
    model = manager.models[kept.name] = Model(kept.name, dispatcher)
    model.last_failure, model.refused = kept.last_failure, kept.refused
    model.unloaded, model.problem = kept.unloaded, kept.problem
    model.footprint.taken.extend(kept.taken)
    model.history.extend(kept.history)
    reloads = kept.reloads
    model.reloads.take_up(reloads.outcomes, reloads.refusals, reloads.phases)
    serving, retained = (
        None if one is None else _lane(one, loader, parts.settings, workers)
        for one in (kept.serving, kept.retained)
    )
    dispatcher.generations.take_up(kept.generation, serving, retained)
    dispatcher.generations.why_not = kept.why_not
    lanes = dispatcher.generations.lanes()
    dispatcher.ledger.take_up(ModelStatistics.from_dict(kept.statistics), lanes)
    for shapes in kept.shapes:
        dispatcher.recent_shapes.note(shapes)
    if serving is not None:
        devices = tuple(loader.device_indices(serving.settings))
        manager.demand.serve(kept.name, Need(serving.settings.instances, devices))
    elif not kept.unloaded:
        manager.demand.expect(kept.name)
    requests: dict[int, InferRequest] = {}
    for one in kept.requests:
        lane = next((lane for lane in lanes if lane.generation == one.generation), serving)
        assert lane is not None
        contract = lane.contract if serving is None else serving.contract
        request = requests[one.id] = _request(one, contract, parts)
        if not one.answered:
            dispatcher.deadlines.watch(request, one.deadline_ns)
        if one.worker:
            workers[one.worker].in_flight[one.id] = request
        else:
            (lane.waiting if one.by_version else dispatcher.queues()[0]).append(request)
    return dispatcher, requests


def _lane(
    kept: KeptLane, loader: Loader, settings: Settings, workers: Mapping[int, WorkerHandle]
) -> Lane:
    staged = StagedVersion(
        kept.staged.program, kept.staged.params, kept.staged.suffix, kept.staged.digest,
        kept.staged.size, kept.staged.settings_data, {}, None,
    )  # fmt: skip
    own = [workers[number] for number in kept.workers]
    contract = Contract.from_json(kept.contract)
    model_settings = parse_model_settings(staged.settings_data, settings)
    lane = Lane(kept.record, contract, model_settings, [*own], staged.platform)
    lane.generation, lane.since = kept.generation, kept.since
    loader.take_up(lane, staged)
    for worker in own:
        worker.lane = lane
    return lane


def _request(kept: KeptRequest, serving: Contract, parts: Parts) -> InferRequest:
    return InferRequest(
        kept.id,
        kept.slot.take_again(parts.arena.slots),
        kept.length,
        serving if kept.contract is None else Contract.from_json(kept.contract),
        kept.output_mask,
        kept.shapes,
        _nobody,
        kept.by_version,
        kept.deadline_ns,
        kept.enqueued_ns,
        kept.submitted_ns,
        RequestState.IN_FLIGHT if kept.worker else RequestState.QUEUED,
        kept.crashes,
        kept.answered,
    )


def _nobody(answer: Answer) -> None:
    """Take the answer to a request whose client has gone."""
    del answer
