"""Memory: what a process says of itself, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

from tests.harness import ROOT

PEAK = """
import mmap
from gpu_worker.memory import Peak, private_bytes

MB = 1 << 20
before = mmap.mmap(-1, 200 * MB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
before.write(bytes(200 * MB))
before.close()
start = private_bytes()
peak = Peak()
kept = mmap.mmap(-1, 30 * MB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
kept.write(b"x" * (30 * MB))
small = peak.bytes() - start
gone = mmap.mmap(-1, 60 * MB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, 60 * MB, 4096):
    gone[at] = 1
gone.close()
print(private_bytes() - start, peak.bytes() - start, small)
"""


def test_the_peak_counts_from_its_beginning_and_what_is_gone_by_its_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=ROOT, capture_output=True, text=True, check=True
    )
    now, peak, small = (int(word) / (1 << 20) for word in done.stdout.split())
    assert 28 < now < 40
    assert 85 < peak < 100
    assert 28 < small < 75  # the bytes that were written stood in memory twice


SHARED = """
import mmap
from gpu_worker.memory import private_bytes

before = private_bytes()
shared = mmap.mmap(-1, 50 << 20)
shared.write(bytes(50 << 20))
del shared
shared = mmap.mmap(-1, 50 << 20)
for at in range(0, 50 << 20, 4096):
    shared[at] = 1
print(private_bytes() - before)
"""


def test_what_is_shared_is_not_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHARED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 10 << 20
