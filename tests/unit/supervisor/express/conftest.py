"""Each test here opens rings and arenas, and none of them may outlive it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest


def shared() -> Counter[str]:
    """Count the segments and doorbells that this process has open; garbage counts, too."""
    folder = Path("/proc/self/fd")
    targets = [str(fd.readlink()) for fd in folder.iterdir() if fd.is_symlink()]
    return Counter(target for target in targets if "hotpaddle" in target or "eventfd" in target)


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    gc.collect()  # what other tests have left may go at any time
    before = shared()
    yield
    assert not shared() - before
