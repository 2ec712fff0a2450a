"""A closed-loop load that checks every answer.

Owns its connections, in a thread of its own. Each answer is compared with the bare predictor's of
the version that it names, and G1 is checked: no answer to a request that was sent after generation
g had been seen comes from an older one. Runs in pytest's process.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from tests.background import Background

ROW = [round(0.1 * column, 1) for column in range(16)]


@dataclass(slots=True)
class Seen:
    """What the load has seen so far."""

    answers: int = 0
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    went_back: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    generation: int = 0
    latencies_ms: list[tuple[float, float]] = field(default_factory=list)

    def assert_clean(self) -> None:
        assert self.errors == []
        assert self.wrong == []
        assert self.went_back == []
        assert self.answers > 0


class Load(Background):
    """`with Load(port, expected) as load:` keeps `concurrency` requests under way.

    `expected` maps a version to the outputs that its bare predictor gives for `ROW`, bit for bit,
    or within `tolerance`: in a batch Paddle adds up in another order.
    """

    def __init__(
        self,
        port: int,
        expected: dict[str, list[float]],
        model: str = "mlp",
        concurrency: int = 8,
        pause_s: float = 0.0,
        tolerance: float = 0.0,
        *,
        keep_alive: bool = True,
    ) -> None:
        super().__init__()
        self.seen = Seen()
        self.expected = expected
        self._url = f"http://127.0.0.1:{port}/v2/models/{model}/infer"
        self._concurrency = concurrency
        self._pause_s = pause_s
        self._tolerance = tolerance
        self._keep_alive = keep_alive  # else a connection per request

    def _progress(self) -> tuple[int, bool]:
        return self.seen.answers, bool(self.seen.errors)

    async def _run(self) -> None:
        header = json.dumps(
            {
                "inputs": [
                    {
                        "name": "x", "datatype": "FP32", "shape": [1, 16],
                        "parameters": {"binary_data_size": 64},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()  # fmt: skip
        body = header + struct.pack("<16f", *ROW)
        headers = {"Inference-Header-Content-Length": str(len(header))}
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(
            timeout=timeout,
            headers=headers,
            connector=aiohttp.TCPConnector(force_close=not self._keep_alive),
        ) as session:
            await asyncio.gather(*(self._client(session, body) for _ in range(self._concurrency)))

    async def _client(self, session: aiohttp.ClientSession, body: bytes) -> None:
        seen = self.seen
        while not self._stop.is_set():
            before, started = seen.generation, time.perf_counter()
            try:
                async with session.post(self._url, data=body) as response:
                    data = await response.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                seen.errors.append(f"{type(error).__name__}: {error}")
                return
            latency_ms = (time.perf_counter() - started) * 1000
            if response.status != 200:
                seen.errors.append(f"{response.status}: {data[:300]!r}")
                continue
            seen.answers += 1
            seen.latencies_ms.append((started, latency_ms))
            version = response.headers["X-Model-Version"]
            generation = int(response.headers["X-Model-Generation"])
            if generation < before:
                seen.went_back.append(f"{generation} ({version}) after {before}")
            seen.generation = max(seen.generation, generation)
            seen.versions[version] += 1
            length = int(response.headers["Inference-Header-Content-Length"])
            outputs = list(struct.unpack("<4f", data[length:]))
            pairs = zip(outputs, self.expected[version], strict=True)
            if any(abs(output - wanted) > self._tolerance for output, wanted in pairs):
                seen.wrong.append(f"{version}: {outputs}, not {self.expected[version]}")
            if self._pause_s:
                await asyncio.sleep(self._pause_s)
