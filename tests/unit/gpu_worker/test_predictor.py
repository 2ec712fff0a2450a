"""The predictor on real models: what it reads from shared buffers is what a copy would give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent.parent


def compare(folder: Path, *shape_sets: list[list[int]]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.gpu_worker.predictor_check", str(folder),
         *[json.dumps(shapes) for shapes in shape_sets]],
        cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "GLOG_minloglevel": "2"},
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def same(result: dict[str, Any], shares: bool = True) -> bool:
    return (
        result["shares"] is shares
        and result["compared"] > 0
        and result["different"] == result["changed"] == 0
    )


@pytest.mark.parametrize("name", ["mlp_v1", "mlp_pdmodel_v1"])
def test_small_batches_of_changing_sizes(models: Any, name: str) -> None:
    assert same(compare(models(name)[0], *[[[rows, 16]] for rows in (1, 8, 3, 32, 1, 2)]))


@pytest.mark.parametrize("name", ["multi", "multi_pdmodel"])
def test_every_data_type(models: Any, name: str) -> None:
    sets = [
        [[n, 8], [n, k], [n, 3], [n], [n, 4], [n, 2], [n, 4], [n, 4]]
        for n, k in ((1, 1), (4, 5), (2, 9), (8, 2))
    ]
    # Paddle shares neither INT8 nor FP64: then all is copied, and not into what was tried with
    assert same(compare(models(name)[0], *sets), shares=False)


@pytest.mark.soak  # ResNet50: tests/integration/test_triton_answers.py
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_pdmodel"])
def test_real_networks(models: Any, name: str) -> None:
    assert same(compare(models(name)[0], *[[[rows, 3, 224, 224]] for rows in (1, 4, 2)]))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("part", "shapes"),
    [
        ("ch_PP-OCRv4_det_infer", [[1, 3, 64, 64], [1, 3, 96, 160], [1, 3, 64, 96]]),
        ("ch_PP-OCRv4_rec_infer", [[1, 3, 48, 320], [4, 3, 48, 160], [2, 3, 48, 240]]),
        ("ch_ppocr_mobile_v2_cls_infer", [[1, 3, 48, 192], [4, 3, 48, 192]]),
    ],
)
def test_real_models_of_changing_widths(ocr: Path, part: str, shapes: list[list[int]]) -> None:
    assert same(compare(ocr / part, *[[shape] for shape in shapes]))
