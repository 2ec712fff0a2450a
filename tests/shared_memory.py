"""Named shared memory, as tests look at it from outside."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from tests.harness import wait_for

_FOLDER: Final = Path("/dev/shm")


def named_memory() -> set[Path]:
    """Give all that has a name."""
    return set(_FOLDER.iterdir())


def left_memory(before: Collection[Path]) -> set[Path]:
    """Give what has come since and nobody who runs has mapped: whoever made it has forgotten it.

    Other tests run at the same time, and what they start may have some of its own meanwhile.
    """
    left = named_memory().difference(before)
    if left:
        for maps in Path("/proc").glob("[0-9]*/maps"):
            try:
                text = maps.read_text()
            except OSError:  # it has ended, or is somebody else's
                continue
            left = {path for path in left if str(path) not in text}
    return {path for path in left if path.exists()}


def wait_until_none_is_left(before: Collection[Path]) -> None:
    """Wait until nobody has left any since; a leak is one that stays."""
    wait_for(lambda: not left_memory(before), "no named shared memory is left")
