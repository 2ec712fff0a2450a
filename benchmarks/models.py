"""The models that are measured.

Owns their names, input shapes and how many exports of each take turns in reloads. Never builds or
runs one: `exporter_process` and `bare_process` do. Pure, but for the look-up of an installed wheel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BenchModel:
    """One model with one FP32 input.

    `shape` is the input's without the batch. `exports` versions with weights of their own can be
    made; where it is 1 the weights are real and there is nothing to take turns with. `batched` asks
    for rows with batching, and other servers beside it; `reloaded` for reloads.
    """

    name: str
    title: str
    input_name: str
    shape: tuple[int, ...]
    exports: int = 2
    batched: bool = False
    reloaded: bool = True

    @property
    def input_bytes(self) -> int:
        """Size of the input of batch 1."""
        return 4 * math.prod(self.shape)

    def sample(self, batch: int = 1) -> Floats:
        """Give an input, the same one in every process: `batch` times the same row."""
        row = np.random.default_rng(7).random((1, *self.shape), np.float32)
        return np.ascontiguousarray(np.repeat(row, batch, axis=0))

    def settings(self, **more: Any) -> str:
        """Write a `model.toml`: the shape to warm up with, and what `more` says."""
        lines = [f"{key} = {_toml(value)}" for key, value in more.items()]
        shape = ", ".join(str(dim) for dim in (1, *self.shape))
        return "\n".join([*lines, "[[warmup]]", f"{self.input_name} = [{shape}]", ""])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | int | float):
        return str(value)
    text = str(value)
    plain = text in ("true", "false") or text.lstrip("-").isdigit() or text.startswith("[")
    return text if plain else f'"{text}"'


MODELS: Final = {
    model.name: model
    for model in (
        BenchModel("mlp", "tiny MLP 16→4", "x", (16,), batched=True),
        BenchModel("average", "average of an image", "image", (3, 224, 224), reloaded=False),
        BenchModel("mobilenet_v2", "MobileNetV2", "image", (3, 224, 224), batched=True),
        BenchModel("resnet50", "ResNet50", "image", (3, 224, 224)),
        BenchModel("ocr_rec", "PP-OCRv4 rec", "x", (3, 48, 320), exports=1, reloaded=False),
    )
}
