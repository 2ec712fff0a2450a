"""The own load generator: `python -m benchmarks.generator_process JSON`.

Owns the order in which requests go out. Closed loop (`rate` 0): each connection sends its next
request when its answer has come. Open loop: requests are meant to start at a constant rate; one
that finds no free connection waits, and its latency counts from when it was meant to start, so that
a server that stalls cannot hide it (no coordinated omission). The status of every answer is
checked, and four answers a second are compared with the bare predictor's.

Writes `started` and a time, records to a file as they come, and a summary as its last line.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import sys
import time
from array import array
from collections import Counter, deque
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop

from benchmarks.connection import Connection, Head
from benchmarks.interval_timer import IntervalTimer
from benchmarks.percentiles import Latencies
from benchmarks.records import RecordWriter
from benchmarks.wire import difference, read_values

_FLUSH_S: Final = 0.1
_CHECK_S: Final = 0.25
_GRACE_S: Final = 20.0
_RETRY_S: Final = 0.05
_LOST: Final = 0  # the status recorded for a request that got no answer


class Generator:
    """Connections, what they are due to send, and what came back."""

    def __init__(self, work: dict[str, Any]) -> None:
        self._port: int = work["port"]
        self._concurrency: int = work["concurrency"]
        self._seconds: float = work["seconds"]
        self._rate: float = work["rate"]
        self._request = Path(work["request"]).read_bytes()
        self._expected = [np.load(path) for path in work["expected"]]
        self._writer = RecordWriter(Path(work["records"]))
        self._errors: Counter[str] = Counter()
        self._wrong: Counter[str] = Counter()
        self._checked = 0
        self._check_due = bool(self._expected)
        self._heads: dict[bytes, Head] = {}
        self._versions: dict[str, int] = {}
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()  # open loop: when requests that wait were to start
        self._late_ms = array("f")  # open loop: by how much this process itself was late
        self._under_way = 0
        self._begun = False
        self._stopping = False
        self._next = 0.0  # open loop: when the next request is meant to start
        self._interval_s = 0.0  # and how long after it the one behind it
        self._tasks: set[asyncio.Task[None]] = set()
        self._done = asyncio.Event()

    async def run(self) -> dict[str, Any]:
        """Send for so long, wait for the last answers, and sum up."""
        for _ in range(self._concurrency):
            await self._connect()
        gc.collect()
        gc.disable()
        started = time.monotonic() + 0.01
        print(json.dumps({"started": started}), flush=True)
        cpu_s = _cpu_seconds()
        timers = [
            IntervalTimer(started, _FLUSH_S, lambda _: self._writer.flush()),
            IntervalTimer(started, _CHECK_S, self._ask_check),
        ]
        self._begun = True
        if self._rate:
            self._next = started
            beat = IntervalTimer(started, 1 / self._rate, self._beat)
            self._interval_s = beat.interval_s
        while self._idle and not self._rate:
            self._send(self._idle.popleft(), time.monotonic())
        await asyncio.sleep(started + self._seconds - time.monotonic())
        self._stopping = True
        if self._rate:
            beat.close()
        if self._under_way or self._due:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), _GRACE_S)
        for timer in timers:
            timer.close()
        unanswered = self._under_way + len(self._due)
        if unanswered:
            self._errors[f"no answer {_GRACE_S:g} s after the end"] = unanswered
        self._writer.close()
        return {
            "started": started,
            "seconds": self._seconds,
            "versions": list(self._versions),
            "errors": dict(self._errors),
            "wrong": dict(self._wrong),
            "checked": self._checked,
            "late_ms": Latencies.of(np.array(self._late_ms)).as_dict(),
            "cpu_s": _cpu_seconds() - cpu_s,
        }

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._request, self._heads, self._answered, self._lost),
            "127.0.0.1", self._port,
        )  # fmt: skip
        self._free(connection)

    def _ask_check(self, _: int) -> None:
        self._check_due = bool(self._expected)

    def _beat(self, beats: int) -> None:
        self._late_ms.append(1000 * (time.monotonic() - self._next))
        for _ in range(beats):
            if self._idle:
                self._send(self._idle.popleft(), self._next)
            else:
                self._due.append(self._next)
            self._next += self._interval_s

    def _send(self, connection: Connection, started: float) -> None:
        connection.keep, self._check_due = self._check_due, False
        self._under_way += 1
        connection.send(started)

    def _free(self, connection: Connection) -> None:
        if self._due:
            self._send(connection, self._due.popleft())
        elif self._stopping:
            self._idle.append(connection)
            if not self._under_way:
                self._done.set()
        elif self._rate or not self._begun:
            self._idle.append(connection)
        else:
            self._send(connection, time.monotonic())

    def _answered(self, connection: Connection, head: Head, body: bytes) -> None:
        now = time.monotonic()
        self._under_way -= 1
        version = self._versions.setdefault(head.version, len(self._versions))
        self._writer.add(now, 1000 * (now - connection.started), version, head.status)
        connection.started = 0.0
        if head.status != 200:
            self._errors[f"{head.status}: {body[:200].decode(errors='replace')}"] += 1
        elif connection.keep:
            self._check(head, body)
        self._free(connection)

    def _lost(self, connection: Connection) -> None:
        if connection.started:  # a request was under way
            now = time.monotonic()
            self._under_way -= 1
            self._errors["lost connection"] += 1
            self._writer.add(now, 1000 * (now - connection.started), 0, _LOST)
        elif connection in self._idle:
            self._idle.remove(connection)
        if self._stopping:
            if not self._under_way:
                self._done.set()
            return
        task = asyncio.ensure_future(self._again())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self) -> None:
        while not self._stopping:
            await asyncio.sleep(_RETRY_S)
            try:
                await self._connect()
            except OSError as error:
                self._errors[f"no connection: {error.strerror}"] += 1
            else:
                return

    def _check(self, head: Head, body: bytes) -> None:
        self._checked += 1
        number = int(head.version.removeprefix("v") or 1)
        expected = self._expected[(number - 1) % len(self._expected)]
        try:
            problem = difference(read_values(head.headers, body), expected)
        except (ValueError, KeyError) as error:
            problem = f"cannot be read: {error!r}"
        if problem:
            self._wrong[f"{head.version}: {problem}"] += 1


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _main() -> None:
    print(json.dumps(await Generator(json.loads(sys.argv[1])).run()))


if __name__ == "__main__":
    uvloop.run(_main())
