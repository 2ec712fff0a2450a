"""What the bare predictor answers, for comparison."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

from tests.conftest import run_bare
from tests.load import ROW

_known: dict[Path, list[float]] = {}


def mlp_outputs(folder: Path) -> list[float]:
    """Give the four outputs of an MLP test model for `ROW`, from Paddle alone."""
    if folder not in _known:
        data = base64.b64encode(struct.pack("<16f", *ROW)).decode()
        (run,) = run_bare(folder, [{"x": {"shape": [1, 16], "dtype": "float32", "data": data}}])
        (output,) = run.values()
        _known[folder] = list(struct.unpack("<4f", base64.b64decode(output["data"])))
    return _known[folder]
