"""A site in a process in which some compiled modules cannot be found, as a program of its own.

Says what it has found in their place, and whether requests were answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from typing import Any, Final

ABSENT: Final = {f"supervisor.express.{name}" for name in sys.argv[1:]}


class Absent:
    """Finds that they are not there."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: Any = None
    ) -> ModuleSpec | None:
        del path, target
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


async def converse() -> None:
    """Have plain and other requests answered: one by one, from the queue, and after a death."""
    from tests.unit.supervisor.express.ring_site import ring_site
    from tests.unit.supervisor.http.client import ask, chunked, numbers, y_of

    async with ring_site(max_in_flight=1) as one:
        (worker,) = one.serve_rings()
        clients = [await one.client() for _ in range(4)]
        for seed in range(3):
            x = numbers(seed)
            for request in (ask(x), ask(x), ask(x, binary=False), chunked(ask(x)), ask(x)):
                found = await clients[0].ask(request)
                assert (found.status, found.y) == (200, y_of(x).ravel().tolist())
        worker.be_slow()
        for seed, client in enumerate(clients):
            await client.send(ask(numbers(seed)))
        await worker.has()
        worker.die(worker.waiting[0].request_id)
        one.add_ring_worker(worker.lane).be_prompt()
        one.dispatcher.pump()
        for seed, client in enumerate(clients):
            assert (await client.answer()).y == y_of(numbers(seed)).ravel().tolist()
        assert one.express == 0


def main() -> None:
    """Run it."""
    sys.meta_path.insert(0, Absent())
    import uvloop

    from supervisor.express import ring_parts, wire_parts

    uvloop.run(asyncio.wait_for(converse(), 30))
    compiled = [wire_parts.Express, ring_parts.Rings, ring_parts.collect]
    loaded = sorted(name for name in ABSENT if name in sys.modules)
    standing_in = [wire_parts.Wire.__module__, wire_parts.ExchangeState.__module__]
    print(json.dumps([*standing_in, loaded]))
    assert compiled == [None, None, None]


if __name__ == "__main__":
    main()
