"""The command line, and settings of a model."""

from __future__ import annotations

import tomllib

import pytest

from benchmarks.models import MODELS
from benchmarks.options import PARTS, parse_options
from benchmarks.peers import PEERS


def test_defaults_measure_everything() -> None:
    options = parse_options([])

    assert options.parts == PARTS
    assert options.models == tuple(MODELS)
    assert options.concurrencies == (1, 8, 32)
    assert (options.turn_batch_sizes, parse_options(["--batch-size", "0"]).turn_batch_sizes) == (
        (1, 8), (1,),
    )  # fmt: skip
    assert options.reload_models == ("mlp", "mobilenet_v2", "resnet50")
    assert (options.reload_seconds, options.interval) == (60, 2)


def test_quick_is_less() -> None:
    options = parse_options(["--quick"])

    assert options.models == ("mlp", "mobilenet_v2")
    assert set(PARTS) - set(options.parts) == {"peers", "beside"}
    assert options.turn_batch_sizes == (8,)
    assert options.reload_models == ("mlp",)
    assert options.batch_concurrencies == (8,)
    assert (options.peers, options.peer_models) == (("mosec",), ("mlp",))
    assert options.peer_concurrencies == (8,)


def test_peers_have_the_models_that_are_batched() -> None:
    assert parse_options([]).peers == tuple(PEERS)
    assert parse_options([]).peer_models == ("mlp", "mobilenet_v2")
    assert parse_options(["--models", "resnet50,mlp"]).peer_models == ("mlp",)


def test_what_is_asked_for_wins_over_quick() -> None:
    options = parse_options(["--quick", "--models", "resnet50", "--seconds", "9"])

    assert options.models == options.reload_models == ("resnet50",)
    assert options.seconds == 9


def test_settings_of_server_and_models() -> None:
    options = parse_options(
        ["--server-option", "fronts=2", "--model-option", "cpu_threads=2", "--model-option", "a=b"]
    )

    assert options.server_options == {"fronts": "2"}
    assert options.model_options == {"cpu_threads": "2", "a": "b"}


@pytest.mark.parametrize(
    "arguments",
    [["--only", "rows,nonsense"], ["--concurrency", "0"], ["--server-option", "fronts"]],
)
def test_nonsense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(arguments)

    assert arguments[0] in capsys.readouterr().err


def test_model_settings_are_toml_with_the_warm_up_last() -> None:
    text = MODELS["ocr_rec"].settings(
        max_batch_size="8", onednn="true", precision="fp16", preferred_batch_sizes="[4, 8]"
    )

    assert tomllib.loads(text) == {
        "max_batch_size": 8,
        "onednn": True,
        "precision": "fp16",
        "preferred_batch_sizes": [4, 8],
        "warmup": [{"x": [1, 3, 48, 320]}],
    }
