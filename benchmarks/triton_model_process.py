"""The model that Triton's Python backend runs, as `model.py` of its model repository.

Owns the bare loop's predictor between Triton's tensors. Runs in the backend's stub process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from benchmarks.bare_process import Predictor
from benchmarks.models import MODELS


class TritonPythonModel:
    """What the backend looks for by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the predictor and run every batch size once."""
        config = json.loads(args["model_config"])
        model = MODELS[config["name"]]
        self._input = model.input_name
        self._predictor = Predictor(Path(config["parameters"]["export"]["string_value"]))
        for size in range(1, config["max_batch_size"] + 1):
            self._predictor.infer(model.sample(size))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run what the backend has gathered as one batch."""
        arrays = [
            pb_utils.get_input_tensor_by_name(request, self._input).as_numpy()
            for request in requests
        ]
        rows = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
        output = self._predictor.infer(rows)[0]
        ends = np.cumsum([len(array) for array in arrays]).tolist()
        parts = [output[end - len(array) : end] for array, end in zip(arrays, ends, strict=True)]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", part)]) for part in parts]
