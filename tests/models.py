"""The models that tests serve: `python tests/models.py OUT_DIR NAME...`.

Owns their making: small nets, seeded, written as OUT_DIR/NAME/inference.{json,pdmodel} and
inference.pdiparams. Never builds in the process that imports it: paddle costs seconds, hundreds of
megabytes and its own view of signals, so tests run this file as a process of its own.

Names with `pdmodel` in them are in Paddle 2's format, which Paddle 2.6 and Paddle 3 both write; all
others are in Paddle 3's format, which only Paddle 3 writes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# What paddle.jit.save takes: a net and the data type and shape of each input, by name.
Inputs = dict[str, tuple[str, list[int | None]]]
Model = tuple[Any, Inputs]

FEATURES: Final = 16
CLASSES: Final = 4
# Paddle 3 writes either format, as this flag was when paddle was imported; Paddle 2 ignores it.
_PIR_FLAG: Final = "FLAGS_enable_pir_api"


def _mlp(paddle: Any, features: int = FEATURES) -> Any:
    nn = paddle.nn
    return nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def _rows(name: str = "x", features: int = FEATURES) -> Inputs:
    return {name: ("float32", [None, features])}


def mlp(paddle: Any, name: str = "x", features: int = FEATURES) -> Model:
    """Two layers: x FP32[-1,16] -> FP32[-1,4]."""
    return _mlp(paddle, features), _rows(name, features)


def nan_mlp(paddle: Any) -> Model:
    """The MLP with one weight that is not a number, so that each answer has one, too."""
    net = _mlp(paddle)
    weight = net[2].weight.numpy()
    weight[0, 0] = float("nan")
    net[2].weight.set_value(weight)
    return net, _rows()


def cast_mlp(paddle: Any, dtype: str) -> Model:
    """The MLP with answers of another data type."""

    class Cast(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.mlp = _mlp(paddle)
            self.dtype_out = dtype  # Paddle 2 compiles forward anew: it sees self, no other names

        def forward(self, x: Any) -> Any:
            return paddle.cast(self.mlp(x), self.dtype_out)

    return Cast(), _rows()


def slow_mlp(paddle: Any, size: int = 1024, products: int = 32) -> Model:
    """The MLP with some 200 to 500 ms of work on one CPU thread, whatever the batch.

    The work's result is multiplied by zero, and it hangs on x, or loading would fold it away.
    """

    class Slow(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.mlp = _mlp(paddle)
            self.size = size
            self.products = products

        def forward(self, x: Any) -> Any:
            zero = paddle.scale(paddle.slice(x, [0, 1], [0, 0], [1, 1]), 0.0)
            matrix = paddle.add(paddle.full([self.size, self.size], 1.0 / self.size), zero)
            product = matrix
            for _ in range(self.products):
                # paddle.matmul cannot be exported as .pdmodel by Paddle 3, linear can
                product = paddle.nn.functional.linear(product, matrix)
            corner = paddle.slice(product, [0, 1], [0, 0], [1, 1])
            return paddle.add(self.mlp(x), paddle.scale(corner, 0.0))

    return Slow(), _rows()


def endless(paddle: Any) -> Model:
    """The MLP with a loop whose condition stays true for every finite x."""

    class Endless(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.mlp = _mlp(paddle)

        def forward(self, x: Any) -> Any:
            corner = paddle.slice(x, [0, 1], [0, 0], [1, 1])
            zero = paddle.reshape(paddle.scale(corner, 0.0), [1])
            one = paddle.full([1], 1.0)
            (end,) = paddle.static.nn.while_loop(
                lambda value: paddle.less_than(value, one),
                lambda value: [paddle.scale(value, 0.5)],
                [zero],
            )
            return paddle.add(self.mlp(x), end)

    return Endless(), _rows()


def multi(paddle: Any) -> Model:
    """One input and one output of each data type that Paddle's inference API carries.

    Rows are independent and every output tells its input: fp32, fp64 and fp16 are doubled, int32
    and int64 are doubled and one more, bool is inverted, int8 stands twice, and of uint8 the first
    and the last column are gone.
    """

    class Multi(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            # Paddle loads no .pdmodel without a parameter
            self.twice = paddle.nn.Linear(8, 8, bias_attr=False)
            self.twice.weight.set_value(2.0 * paddle.eye(8))

        def forward(
            self,
            in_fp32: Any,
            in_int64: Any,
            in_bool: Any,
            in_int32: Any,
            in_fp16: Any,
            in_fp64: Any,
            in_int8: Any,
            in_uint8: Any,
        ) -> Any:
            false = paddle.full([1], False, "bool")
            return (
                self.twice(in_fp32),
                paddle.scale(in_int64, 2.0, 1.0),
                paddle.equal(in_bool, false),
                paddle.scale(in_int32, 2.0, 1.0),
                paddle.cast(paddle.scale(paddle.cast(in_fp16, "float32"), 2.0), "float16"),
                paddle.scale(in_fp64, 2.0),
                paddle.concat([in_int8, in_int8], axis=1),
                paddle.slice(in_uint8, [1], [1], [3]),
            )

    return Multi(), {
        "in_fp32": ("float32", [None, 8]),
        "in_int64": ("int64", [None, None]),
        "in_bool": ("bool", [None, 3]),
        "in_int32": ("int32", [None]),
        "in_fp16": ("float16", [None, 4]),
        "in_fp64": ("float64", [None, 2]),
        "in_int8": ("int8", [None, 4]),
        "in_uint8": ("uint8", [None, 4]),
    }


def vision(paddle: Any, net: str) -> Model:
    """A real network with random weights: image FP32[-1,3,224,224] -> FP32[-1,1000]."""
    return getattr(paddle.vision.models, net)(), {"image": ("float32", [None, 3, 224, 224])}


MODELS: Final[dict[str, tuple[int, Callable[[Any], Model]]]] = {
    **{f"mlp_v{n}": (n, mlp) for n in range(1, 6)},
    **{f"mlp_pdmodel_v{n}": (n, mlp) for n in range(1, 6)},
    "multi": (1, multi),
    "multi_pdmodel": (1, multi),
    "resnet50": (1, partial(vision, net="resnet50")),
    "resnet50_pdmodel": (1, partial(vision, net="resnet50")),
    "mobilenet_v2": (1, partial(vision, net="mobilenet_v2")),
    "mobilenet_v2_pdmodel": (1, partial(vision, net="mobilenet_v2")),
    "nan_mlp": (1, nan_mlp),
    "nan_mlp_pdmodel": (1, nan_mlp),
    "changed_contract": (1, partial(mlp, features=FEATURES + 1)),
    "changed_contract_pdmodel": (1, partial(mlp, features=FEATURES + 1)),
    "renamed_contract": (1, partial(mlp, name="y")),
    "renamed_contract_pdmodel": (1, partial(mlp, name="y")),
    "bf16_out": (1, partial(cast_mlp, dtype="bfloat16")),
    "int16_out": (1, partial(cast_mlp, dtype="int16")),
    "bf16_out_pdmodel": (1, partial(cast_mlp, dtype="bfloat16")),
    "slow_mlp": (1, slow_mlp),
    "slow_mlp_pdmodel": (1, slow_mlp),
    "endless": (1, endless),
    "endless_pdmodel": (1, endless),
}


def is_pir(name: str) -> bool:
    """Tell whether the model called `name` is in Paddle 3's format."""
    return "pdmodel" not in name


def build(out_dir: Path, names: list[str]) -> None:
    """Build models of one format in this process, which must not have imported paddle yet."""
    pir = is_pir(names[0])
    os.environ[_PIR_FLAG] = str(int(pir))
    os.environ.setdefault("GLOG_minloglevel", "2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paddle: Any = importlib.import_module("paddle")
        if pir and int(paddle.__version__.split(".", 1)[0]) < 3:
            sys.exit(f"{names[0]} needs Paddle 3; this is {paddle.__version__}")
        for name in names:
            # Paddle numbers its variables per process and names outputs after them: start again
            with paddle.utils.unique_name.guard():
                _build_one(paddle, out_dir / name, name)


def _build_one(paddle: Any, directory: Path, name: str) -> None:
    started = time.monotonic()
    seed, make = MODELS[name]
    paddle.seed(seed)
    net, inputs = make(paddle)
    net.eval()
    directory.mkdir(parents=True, exist_ok=True)
    spec = paddle.static.InputSpec
    paddle.jit.save(
        net,
        str(directory / "inference"),
        input_spec=[spec(shape, dtype, key) for key, (dtype, shape) in inputs.items()],
    )
    (directory / "inference.pdiparams.info").unlink(missing_ok=True)  # only training reads it
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(f"{name}: {size} bytes in {time.monotonic() - started:.2f} s", flush=True)


def main() -> None:
    """Build what the command line names, each format in a process of its own."""
    parser = argparse.ArgumentParser(description="Build the models that tests serve.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("names", nargs="+", choices=MODELS, metavar="NAME")
    arguments = parser.parse_args()
    formats = [
        [name for name in arguments.names if is_pir(name)],
        [name for name in arguments.names if not is_pir(name)],
    ]
    if all(formats):
        for names in formats:
            command = [sys.executable, __file__, str(arguments.out_dir), *names]
            subprocess.run(command, check=True)
    else:
        build(arguments.out_dir, arguments.names)


if __name__ == "__main__":
    main()
