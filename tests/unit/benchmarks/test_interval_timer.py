"""The load generator's timer: when it rings and what it says of its beat."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from benchmarks.interval_timer import IntervalTimer


def kernel_interval_s() -> float:
    """Give the interval that the kernel says our only timer has."""
    files = list(Path("/proc/self/fdinfo").iterdir())
    lines = [line for one in files if one.exists() for line in one.read_text().splitlines()]
    (line,) = [line for line in lines if line.startswith("it_interval:")]
    seconds, nanoseconds = line.removeprefix("it_interval:").strip(" ()").split(",")
    return int(seconds) + int(nanoseconds) / 1e9


async def test_the_beat_is_told_as_the_kernel_keeps_it() -> None:
    # 92,945.4 ns: 0.4 ns a beat is half a millisecond after a minute or two.
    timer = IntervalTimer(time.monotonic() + 60, 1 / 10_759, lambda _: None)
    assert timer.interval_s == kernel_interval_s() == 92_945 / 1e9
    timer.close()


async def test_no_beat_comes_before_its_time() -> None:
    first = time.monotonic() + 0.01
    rang: list[tuple[int, float]] = []
    enough = asyncio.Event()

    def due(count: int) -> None:
        rang.append((count, time.monotonic()))
        if sum(beats for beats, _ in rang) >= 200:
            enough.set()

    timer = IntervalTimer(first, 1 / 7_001, due)
    await enough.wait()
    timer.close()
    beats = 0
    for count, at in rang:
        beats += count
        assert count > 0
        assert first + (beats - 1) * timer.interval_s <= at
