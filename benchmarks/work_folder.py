"""The folder that a run writes into, removed with all that is in it when the run ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def work_folder(chosen: Path | None) -> Iterator[Path]:
    """Make a folder of its own, inside `chosen` or where temporary files lie."""
    if chosen is not None:
        chosen.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hotpaddle-bench-", dir=chosen) as folder:
        yield Path(folder)
