"""Huge pages that were cut, and the heap in which they are put together again."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpu_worker.huge_pages import mend, mend_heap
from supervisor.workers.environment import worker_environment
from tests.harness import ROOT
from tests.huge_pages import HUGE, needs_huge_pages

PAGE = mmap.PAGESIZE
COUNT = 8

pytestmark = needs_huge_pages


class Memory:
    """Some huge pages, full of numbers, and one more at most at either end."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, (COUNT + 1) * HUGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._map.madvise(mmap.MADV_HUGEPAGE)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self.begin = ctypes.addressof(self._anchor)
        self.end = self.begin + len(self._map)
        self.first = -self.begin % HUGE  # offset of the first whole huge page
        self.words = np.frombuffer(self._map, np.uint32)
        self.words[:] = np.arange(len(self.words))

    def give_back(self, huge_page: int, pages: int) -> None:
        """Give the first so many pages of a huge page back to the system."""
        at = self.first + huge_page * HUGE
        self._map.madvise(mmap.MADV_DONTNEED, at, pages * PAGE)

    def huge(self) -> int:
        """Count the huge pages that are whole."""
        text = Path("/proc/self/smaps").read_text()
        blocks = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
        kilobytes = 0
        for block in blocks:
            where = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", block)
            if where and int(where[1], 16) < self.end and self.begin < int(where[2], 16):
                found = re.search(r"AnonHugePages:\s+(\d+) kB", block)
                assert found
                kilobytes += int(found[1])
        return kilobytes * 1024 // HUGE


def test_a_huge_page_that_was_cut_is_whole_again_and_nothing_is_lost() -> None:
    memory = Memory()
    assert memory.huge() >= COUNT
    for number in range(COUNT):
        memory.give_back(number, 3)
    expected = memory.words.tobytes()
    assert memory.huge() <= 1

    assert mend(memory.begin, memory.end) >= COUNT

    assert memory.huge() >= COUNT
    assert memory.words.tobytes() == expected


@pytest.mark.parametrize(("given_back", "whole"), [(257, False), (256, True)])
def test_one_of_which_less_than_half_is_left_is_not_filled_up(given_back: int, whole: bool) -> None:
    memory = Memory()
    memory.give_back(4, given_back)
    before = memory.huge()

    mend(memory.begin, memory.end)

    assert memory.huge() == before + whole


def test_what_holds_no_huge_page_is_left_alone() -> None:
    memory = Memory()
    begin = memory.begin + memory.first
    assert mend(begin + PAGE, begin + HUGE + PAGE) == 0
    assert mend(begin, begin) == 0
    assert mend(begin, begin + HUGE) == 1


def test_memory_that_is_not_there_is_left_alone() -> None:
    with mmap.mmap(-1, 2 * HUGE) as gone:
        anchor = ctypes.c_char.from_buffer(gone)
        begin = ctypes.addressof(anchor)
        del anchor
    assert mend(begin, begin + 2 * HUGE) == 0


HEAP = """
import ctypes, json, re
from pathlib import Path
from gpu_worker.huge_pages import mend_heap

def heap():
    text = Path("/proc/self/smaps").read_text()
    parts = re.findall(r"\\[heap\\]$.*?AnonHugePages:\\s+(\\d+) kB", text, re.DOTALL | re.MULTILINE)
    return sum(map(int, parts)) // 1024

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = [libc.malloc(ctypes.c_size_t(300_000)) for _ in range(200)]
for block in blocks:
    ctypes.memset(block, 1, 300_000)
full = heap()
for block in blocks[::5]:
    libc.free(ctypes.c_void_p(block))
libc.malloc_trim(0)
cut = heap()
asked = mend_heap()
print(json.dumps([full, cut, heap(), asked]))
"""


@pytest.mark.parametrize("malloc", ["tuned", "system"])
def test_the_heap_is_mended_where_it_was_to_lie_in_huge_pages(malloc: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEAP], cwd=ROOT, env=worker_environment(malloc, os.environ),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    full, cut, mended, asked = json.loads(done.stdout)
    if malloc == "system":
        assert asked == 0
        assert mended == cut
    else:
        assert full > 40
        assert cut < full / 2
        assert mended > 0.9 * full


def test_a_process_whose_allocator_was_told_nothing_is_left_alone() -> None:
    assert "hugetlb" not in os.environ.get("GLIBC_TUNABLES", "")
    assert mend_heap() == 0
