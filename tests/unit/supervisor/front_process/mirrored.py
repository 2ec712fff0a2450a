"""A mirror and what it is told, with workers that answer when a test says so."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import cast

from supervisor.dispatch.lane import Lane
from supervisor.front_process.mirror import Mirror
from supervisor.fronts import messages
from supervisor.fronts.messages import FrontChannel
from supervisor.workers.port import WorkerPort
from tests.unit.supervisor.dispatch.bench import CONTRACT, Bench, FakeWorker


class FakePort(FakeWorker):
    """A port to a worker with a number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.lane: Lane | None = None
        self.load_id = 0


class Mirrored(Bench):
    """A further front's model `m`: a bench whose lanes are those that the mirror makes."""

    def __init__(self, *workers: int, **limits: int) -> None:
        """Give it ports to `workers`."""
        super().__init__(**limits)
        self.mirror = Mirror(self.arena)
        self.ports = {number: FakePort(number) for number in workers}

    def add_port(self, number: int) -> FakePort:
        """Open a port to one more worker."""
        port = self.ports[number] = FakePort(number)
        return port

    def find(self, number: int) -> WorkerPort | None:
        """Give the port of a worker, as the ports do."""
        return cast("WorkerPort | None", self.ports.get(number))

    def hear(self, message: messages.FrontMessage) -> None:
        """Obey a message as it comes off the wire."""
        vocabulary = FrontChannel.vocabulary
        match vocabulary.decode(vocabulary.encode(message)):
            case messages.LaneState() as lane:
                self.mirror.set_lane(lane, self.find)
            case messages.ModelState() as model:
                self.mirror.set_model(model)
            case other:
                raise AssertionError(other)
        for port in self.ports.values():
            if port.lane is not None:
                self.workers[port] = port.lane
        found = self.mirror.dispatcher("m")
        if found is not None:
            self.dispatcher = found

    def tell_lane(
        self, number: int, *workers: int, generation: int = 0, closing: bool = False
    ) -> None:
        """Tell of version `v{number}`, which each worker has loaded as its number times ten."""
        contract = json.loads(json.dumps(CONTRACT.to_json()))
        loads = [[worker, 10 * worker] for worker in workers]
        self.hear(
            messages.LaneState(
                number, "m", f"v{number}", generation, contract, self.limits, loads, closing
            )
        )

    def tell_model(
        self, serving: int, retained: int = 0, *, generation: int = 0, held: bool = False
    ) -> None:
        """Tell which lanes there are."""
        self.hear(
            messages.ModelState(
                0, "m", held, generation, "it was unloaded by request", serving, retained
            )
        )

    def end(self, number: int) -> None:
        """End a worker as the ports do."""
        port = self.ports.pop(number)
        if port.lane is not None:
            self.kill(port)


def state_of(bench: Bench) -> tuple[str | None, int, str | None]:
    """Give the serving version, the generation and the retained version."""
    serving, retained = bench.dispatcher.serving, bench.dispatcher.retained
    return (
        None if serving is None else serving.version,
        bench.dispatcher.generations.number,
        None if retained is None else retained.version,
    )


@dataclass(eq=False)
class Reader:
    """A further front, what it has not read yet, and the orders that it has obeyed."""

    mirror: Mirrored
    inbox: deque[messages.FrontMessage] = field(default_factory=deque)
    obeyed: set[int] = field(default_factory=set)

    def read(self) -> None:
        """Do what was said first."""
        match self.inbox.popleft():
            case messages.WorkerUp(number=number):
                self.mirror.add_port(number)
            case messages.WorkerGone(number=number):
                self.mirror.end(number)
            case message:
                self.mirror.hear(message)
                if isinstance(message, messages.ModelState):
                    self.obeyed.add(message.order)

    def read_all(self) -> None:
        while self.inbox:
            self.read()
