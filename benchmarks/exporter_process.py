"""Exports models: `python -m benchmarks.exporter_process FOLDER NAME...`.

Owns the making of FOLDER/NAME_a and FOLDER/NAME_b: the same net with other random weights, in the
format that the installed Paddle writes by default. Runs as a process of its own, because importing
paddle costs seconds, hundreds of megabytes and its own view of signals.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, Final

import paddle

from benchmarks.models import MODELS

LETTERS: Final = "abcdefgh"


def _net(name: str) -> Any:
    nn = paddle.nn
    if name == "mlp":
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    if name == "average":  # as little work as a large input can be: what is left is the server's
        return nn.Sequential(nn.AvgPool2D(224), nn.Flatten(), nn.Linear(3, 4))
    return getattr(paddle.vision.models, name)()


def export(folder: Path, name: str, seed: int) -> None:
    """Export one net with the weights that `seed` gives."""
    model = MODELS[name]
    paddle.seed(seed)
    net = _net(name)
    net.eval()
    spec = paddle.static.InputSpec([None, *model.shape], "float32", model.input_name)
    folder.mkdir(parents=True, exist_ok=True)
    paddle.jit.save(net, str(folder / "inference"), input_spec=[spec])
    (folder / "inference.pdiparams.info").unlink(missing_ok=True)  # only training reads it


def main() -> None:
    """Export what the command line names."""
    warnings.simplefilter("ignore")
    root, names = Path(sys.argv[1]), sys.argv[2:]
    for name in names:
        for seed in range(MODELS[name].exports):
            # Paddle numbers its variables per process and names outputs after them: start again
            with paddle.utils.unique_name.guard():
                export(root / f"{name}_{LETTERS[seed]}", name, seed)


if __name__ == "__main__":
    main()
