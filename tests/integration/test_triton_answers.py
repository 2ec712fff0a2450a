"""Real models through Triton's clients: every answer is the bare predictor's, bit for bit.

Both run one math thread and oneDNN, on the same shapes, so that nothing has to be left to a
tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import Models
from tests.harness import Repository, Server
from tests.integration.tensors import Arrays, assert_same, bare_answers, multi_inputs
from tests.integration.triton import Triton, arrays_of

# tritonclient's aiohttp client hands a body over in one piece; aiohttp warns of it from 1 MB on
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

MIXES = [(True, True), (True, False), (False, True), (False, False)]


def image(*shape: int) -> npt.NDArray[Any]:
    """Build noise of a shape, the same in every run."""
    rng = np.random.default_rng(sum(shape))
    return rng.standard_normal(shape, dtype="float32") * np.float32(0.5)


# Per model the shapes of its image: (model's folder, input, shapes).
IMAGES: dict[str, tuple[str, str, list[tuple[int, ...]]]] = {
    "rec": ("ch_PP-OCRv4_rec_infer", "x", [(1, 3, 48, 320), (2, 3, 48, 96), (1, 3, 48, 501)]),
    "cls": ("ch_ppocr_mobile_v2_cls_infer", "x", [(1, 3, 48, 192), (3, 3, 48, 192)]),
    "det": ("ch_PP-OCRv4_det_infer", "x", [(1, 3, 64, 96), (1, 3, 160, 64), (2, 3, 96, 96)]),
    "resnet50": ("resnet50", "image", [(1, 3, 224, 224), (2, 3, 224, 224)]),
    "resnet50_pdmodel": ("resnet50_pdmodel", "image", [(1, 3, 224, 224)]),
}
MULTI = [(1, 1), (4, 7)]
MULTIS = ("multi", "multi_pdmodel")


@pytest.fixture(scope="module")
def folders(models: Models, ocr: Path) -> dict[str, Path]:
    found = {
        name: ocr / folder if folder.startswith("ch_") else models(folder)[0]
        for name, (folder, _, _) in IMAGES.items()
        if folder.startswith("ch_") or models.can(folder)
    }
    found.update({name: models(name)[0] for name in MULTIS if models.can(name)})
    return found


@pytest.fixture(scope="module")
def server(
    share: Callable[..., Server], shared_repository: Repository, folders: dict[str, Path]
) -> Server:
    for name, folder in folders.items():
        shared_repository.publish(name, "v1", folder)
    return share("--spares", "0")


@pytest.fixture(scope="module")
def runs(folders: dict[str, Path]) -> Callable[[str], list[tuple[Arrays, Arrays]]]:
    """Give a model's inputs and what the bare predictor makes of them."""
    known: dict[str, list[tuple[Arrays, Arrays]]] = {}

    def look(name: str) -> list[tuple[Arrays, Arrays]]:
        if name not in folders:
            pytest.skip(f"only Paddle 3 writes and serves {name}")
        if name not in known:
            inputs: list[Arrays] = [multi_inputs(*size) for size in MULTI]
            if name in IMAGES:
                _, key, shapes = IMAGES[name]
                inputs = [{key: image(*shape)} for shape in shapes]
            known[name] = list(zip(inputs, bare_answers(folders[name], inputs), strict=True))
        return known[name]

    return look


@pytest.mark.parametrize("kind", ["http", "aio"])
@pytest.mark.parametrize(("binary_in", "binary_out"), MIXES)
@pytest.mark.parametrize("name", IMAGES)
def test_images(
    name: str, binary_in: bool, binary_out: bool, kind: str, server: Server,
    runs: Callable[[str], list[tuple[Arrays, Arrays]]],
) -> None:  # fmt: skip
    client = Triton(server, kind)
    for inputs, wanted in runs(name):
        result = client.infer(
            name, inputs, list(wanted), binary_in=binary_in, binary_out=binary_out
        )
        assert_same(arrays_of(result), wanted)


@pytest.mark.parametrize("kind", ["http", "aio"])
@pytest.mark.parametrize("name", MULTIS)
def test_all_data_types(
    name: str, kind: str, server: Server, runs: Callable[[str], list[tuple[Arrays, Arrays]]]
) -> None:
    client = Triton(server, kind)
    for inputs, wanted in runs(name):
        assert_same(arrays_of(client.infer(name, inputs)), wanted)
        assert_same(arrays_of(client.infer(name, inputs, list(wanted))), wanted)
        others = [output for output, array in wanted.items() if array.dtype != "float16"]
        result = client.infer(name, inputs, others, binary_out=False)
        assert_same(arrays_of(result), {output: wanted[output] for output in others})


def test_the_models_are_in_both_formats(server: Server, folders: dict[str, Path]) -> None:
    if "resnet50" not in folders:
        pytest.skip("Paddle 2 has one format")
    platforms = {
        name: server.get(f"/v2/models/{name}").json()["platform"]
        for name in ("resnet50", "resnet50_pdmodel", "multi", "multi_pdmodel", "rec")
    }
    assert platforms["resnet50"] == platforms["multi"] == "paddle_pir"
    assert {platforms[name] for name in ("resnet50_pdmodel", "multi_pdmodel", "rec")} == {
        "paddle_inference"
    }
