"""One conversation, held with the compiled code and without: what comes of it must be the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

from supervisor.settings import Settings
from tests.unit.supervisor.express.ring_site import RingSite, RingWorker, raw_answer, ring_site
from tests.unit.supervisor.http.client import Client, ask, numbers
from tests.unit.supervisor.http.loops import until

T = TypeVar("T")
MODES: Final = ("auto", "off")
BUSY: Final = 4  # clients of `busy`


async def both_ways(
    talk: Callable[[RingSite], Awaitable[T]], *, settings: Settings | None = None, **options: Any
) -> T:
    """Give what came of it, which is the same either way."""
    heard = []
    for mode in MODES:
        setting = replace(settings or Settings(), express=mode)
        async with ring_site(settings=setting, **options) as one:
            found = await talk(one)
            assert mode == "auto" or not one.express
            assert one.bench.lent == 0
            heard.append((found, counted(one), one.arena.slots.high_water_bytes))
    assert heard[0] == heard[1]
    return heard[0][0]


async def acquainted(one: RingSite) -> Client:
    """Connect a client whose plain requests go through compiled code from now on, if any do."""
    client = await one.client()
    for seed in range(2):
        await exchanged(client, ask(numbers(seed)))
    return client


async def exchanged(client: Client, request: bytes) -> bytes:
    """Ask, and give the answer's bytes."""
    client.writer.write(request)
    return await raw_answer(client)


def _in_flight(worker: RingWorker) -> int:
    return len(worker.port.in_flight)


async def busy(one: RingSite, *, workers: int = 1) -> tuple[list[RingWorker], list[Client]]:
    """Have plain requests of several clients be with the first worker, which does nothing yet."""
    made = one.serve_rings(workers=workers)
    one.lay_in(BUSY)
    clients = [await acquainted(one) for _ in range(BUSY)]
    for worker in made:
        worker.be_slow()
    before = one.express
    for number, client in enumerate(clients):
        await client.send(ask(numbers(number)))
    assert one.express - before in (0, BUSY)
    await until(lambda: one.dispatcher.queued + sum(map(_in_flight, made)) == BUSY)
    return made, clients


def counted(one: RingSite) -> dict[str, Any]:
    """Give all that was counted, without times, and without who has taken the requests."""
    dispatcher = one.dispatcher
    now = dispatcher.ledger.snapshot(dispatcher.serving, dispatcher.retained, dispatcher.queued)
    events = {name: count for name, count in now.events.items() if name != "express"}
    versions = {"gone": now.gone, **now.versions}
    return {
        "errors": now.errors,
        "events": events,
        "under way": (now.queued, now.in_flight, now.credit),
        "versions": {name: _without_times(one) for name, one in versions.items()},
        "shapes": dispatcher.recent_shapes.list(),
        "lends": one.arena.slots.lends,
        "ports": [(worker.port.answered, worker.port.stale) for worker in one.rings],
    }


def _without_times(statistics: Any) -> dict[str, Any]:
    return {
        "answered": statistics.answered,
        "success": statistics.success_count,
        "failures": statistics.failures,
        "executions": statistics.execution_count,
        "batches": {rows: batch.count for rows, batch in statistics.batches.items()},
        "calm": statistics.calm.total.count,
        "reloading": statistics.reloading.total.count,
    }
