"""What tests call left behind: what no process that runs has mapped."""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from tests.shared_memory import left_memory, named_memory


def test_memory_is_left_once_nobody_has_it_mapped() -> None:
    before = named_memory()
    memory = SharedMemory(create=True, size=64)
    path = Path("/dev/shm") / memory.name
    try:
        assert path not in left_memory(before)
        memory.close()
        assert path in left_memory(before)
    finally:
        memory.unlink()
    assert path not in left_memory(before)
