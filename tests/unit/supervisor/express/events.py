"""Events of a course: what clients do, what becomes of workers and versions, what time does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpu_worker.ipc.link import Status
from gpu_worker.ipc.tensors import Contract
from supervisor.dispatch.ledger import mark_reload
from tests.unit.supervisor.dispatch.bench import CONTRACT, OTHER_CONTRACT
from tests.unit.supervisor.express.course import Course

CONTRACTS: Final = {
    "same": CONTRACT,
    "equal": Contract(CONTRACT.inputs, CONTRACT.outputs),
    "other": OTHER_CONTRACT,
}


@dataclass(frozen=True)
class Send:
    """A client writes requests, at once or cut at these places."""

    client: int
    kinds: tuple[str, ...] = ("plain",)
    cuts: tuple[int, ...] = ()

    async def happen(self, course: Course) -> None:
        client = await course.client(self.client)
        await course.write(client, b"".join(map(course.request, self.kinds)), self.cuts)


@dataclass(frozen=True)
class Burst:
    """So many times, all clients write a plain request each, and workers answer what they have."""

    times: int

    async def happen(self, course: Course) -> None:
        for _ in range(self.times):
            clients = [await course.client(number) for number in range(len(course.clients))]
            for client in clients:
                client.writer.write(course.request("plain"))
            await course.settle()
            await course.answer_all()


@dataclass(frozen=True)
class Leave:
    """A client goes, and another comes."""

    client: int

    async def happen(self, course: Course) -> None:
        number = self.client % len(course.clients)
        course.clients[number].leave()
        await course.settle()
        course.clients[number] = await course.site.client()


@dataclass(frozen=True)
class Answer:
    """A worker answers its oldest requests, all in this way."""

    worker: int
    count: int
    status: Status = Status.OK
    data: bytes | None = None

    async def happen(self, course: Course) -> None:
        workers = course.site.workers
        workers[self.worker % len(workers)].answer(self.count, self.status, self.data)


@dataclass(frozen=True)
class Die:
    """A worker dies while it runs so many requests; another takes its place."""

    worker: int
    running: int

    async def happen(self, course: Course) -> None:
        workers = course.site.workers
        worker = workers[self.worker % len(workers)]
        worker.die(*list(worker.port.in_flight)[: self.running])
        course.site.add_ring_worker(worker.lane)
        course.dispatcher.pump()


@dataclass(frozen=True)
class Switch:
    """A new version serves."""

    contract: str
    workers: int

    async def happen(self, course: Course) -> None:
        course.versions += 1
        course.site.serve_rings(
            f"v{course.versions}",
            prompt=False,
            workers=self.workers,
            contract=CONTRACTS[self.contract],
        )


@dataclass(frozen=True)
class GoBack:
    """The version that served before serves again, if it is retained."""

    async def happen(self, course: Course) -> None:
        if course.dispatcher.retained is not None:
            course.dispatcher.switch(course.dispatcher.retained)


@dataclass(frozen=True)
class Forget:
    """The version that served before is given up."""

    async def happen(self, course: Course) -> None:
        course.dispatcher.forget_retained()


@dataclass(frozen=True)
class Hold:
    """What is queued waits from now on, or goes on."""

    held: bool

    async def happen(self, course: Course) -> None:
        course.dispatcher.held = self.held
        if not self.held:
            course.dispatcher.pump()


@dataclass(frozen=True)
class Reload:
    """A reload begins, or has ended."""

    under_way: bool

    async def happen(self, course: Course) -> None:
        mark_reload([course.dispatcher.ledger], under_way=self.under_way)


@dataclass(frozen=True)
class Reread:
    """Tokens are read again."""

    async def happen(self, course: Course) -> None:
        await course.site.front.guard.reread()


@dataclass(frozen=True)
class Expire:
    """The deadline of a request passes."""

    nth: int

    async def happen(self, course: Course) -> None:
        deadlines = course.dispatcher.deadlines
        if deadlines.watched:
            request = list(deadlines.watched)[self.nth % len(deadlines.watched)]
            deadlines.watched[request] = 0
            deadlines._fire()  # noqa: SLF001 - what its timer calls
