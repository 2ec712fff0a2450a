"""What a process keeps of a version, and when it gives it back: in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from supervisor.workers.environment import worker_environment
from tests.harness import ROOT
from tests.huge_pages import needs_huge_pages

SETUP = """
import ctypes, json
from gpu_worker.heap import Heap
from gpu_worker.memory import private_bytes

MB = 1 << 20
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def version(megabytes):
    # what is allocated last stays, so that all before it lies between what is in use
    blocks = [libc.malloc(ctypes.c_size_t(MB)) for _ in range(megabytes)]
    for block in blocks:
        ctypes.memset(block, 1, MB)
    libc.malloc(ctypes.c_size_t(5000))
    return blocks

def drop(blocks):
    for block in blocks:
        libc.free(ctypes.c_void_p(block))

def has():
    return private_bytes() // MB

heap = Heap()
empty = has()
"""


def run(script: str) -> Any:
    """Run in an environment of a worker; gives what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + script], cwd=ROOT,
        env=worker_environment("tuned", os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_a_version_leaves_is_kept_until_it_is_asked_for() -> None:
    kept, said, empty, left, told, later = run("""
heap.expect(1000)
blocks = version(100)
heap.gather()
drop(blocks)
said = heap.vacated()
kept = has()
told = heap.give_back() // MB
print(json.dumps([kept, said, empty, has(), told, heap.vacated() // MB]))
""")
    assert kept >= empty + 98
    assert said == 0, "it has never given everything back"
    assert left <= empty + 5
    assert told == later == left


@pytest.mark.parametrize(
    ("files", "kept"),
    [(1000, True), (801, True), (1250, True), (799, False), (1251, False), (0, False)],
)
def test_it_is_kept_for_a_version_of_its_size(files: int, kept: bool) -> None:
    empty, has = run(f"""
heap.expect(1000)
drop(version(100))
heap.vacated()
heap.expect({files})
print(json.dumps([empty, has()]))
""")
    assert (has >= empty + 98) is kept
    assert (has <= empty + 5) is not kept


def test_it_is_not_kept_for_ever_smaller_versions() -> None:
    """Each would be of the size of the one before."""
    empty, *has = run("""
series = []
for files in (1000, 850, 700):
    heap.expect(files)
    series.append(has())
    drop(version(100 if files == 1000 else 1))
    heap.vacated()
print(json.dumps([empty, *series]))
""")
    assert [one >= empty + 98 for one in has] == [False, True, False]


def test_versions_that_leave_ever_more_do_not_keep_it_for_ever() -> None:
    series, empty = run("""
series = []
for megabytes in (100, 120, 150, 200, 100):
    heap.expect(1000)
    drop(version(megabytes))
    said = heap.vacated() // MB
    series.append((has(), said))
print(json.dumps([series, empty]))
""")
    assert [has - empty >= 98 for has, _ in series] == [True, True, True, False, True]
    assert [said > 0 for _, said in series] == [False] * 3 + [True] * 2


@needs_huge_pages
def test_what_is_loaded_after_it_was_given_back_is_gathered_once() -> None:
    first, asked, again = run("""
import gpu_worker.heap
calls = []
real = gpu_worker.heap.mend_heap
gpu_worker.heap.mend_heap = lambda: calls.append(real())

heap.expect(1000)
blocks = version(50)
heap.gather()
first = list(calls)
drop(blocks)
heap.vacated()
heap.give_back()
version(50)
heap.gather()
asked = list(calls)
heap.gather()
print(json.dumps([first, asked, calls]))
""")
    assert first == [], "nothing had been given back"
    assert len(asked) == 1
    assert asked[0] > 20
    assert again == asked
