"""What the bare predictor answers, for comparison."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

from tests.conftest import run_bare
from tests.load import ROW

_known: dict[tuple[Path, str], list[float]] = {}


def mlp_outputs(folder: Path, device: str = "cpu") -> list[float]:
    """Give the four outputs of an MLP test model for `ROW`, from Paddle alone."""
    key = (folder, device)
    if key not in _known:
        data = base64.b64encode(struct.pack("<16f", *ROW)).decode()
        tensor = {"shape": [1, 16], "dtype": "float32", "data": data}
        (run,) = run_bare(folder, [{"x": tensor}], device=device)
        (output,) = run.values()
        _known[key] = list(struct.unpack("<4f", base64.b64decode(output["data"])))
    return _known[key]
