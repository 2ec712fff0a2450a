"""Triton with its Python backend as it is measured: one instance, binary tensors.

Owns the model repository that it is given and how it is started; `triton_model_process` is the
model. The server and the backend lie in the wheel nvidia-pytriton, of which nothing else is used.
The backend was built for numpy 1 and gives empty answers under numpy 2 (by DLPack right ones, at
twice the cost), so `make bench` installs it with a numpy of its own in a folder of its own.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

from benchmarks.exports import ROOT
from benchmarks.http_server import Answer, HttpServer, free_port
from benchmarks.models import BenchModel, Floats
from benchmarks.peer import ENCODING
from benchmarks.wire import Request, build_request, read_values

_STUB: Final = "triton_python_backend_stub"
_PACKAGES: Final = Path(sys.prefix) / "triton"
_ROOT: Final = _PACKAGES / "pytriton" / "tritonserver"
_STUBS: Final = _ROOT / "python_backend_stubs"
_BATCHING: Final = "dynamic_batching { max_queue_delay_microseconds: 1000 }"
_MODEL: Final = Path(__file__).with_name("triton_model_process.py")


class TritonPeer:
    """Triton's server, with a model written as its Python backend wants it."""

    name: Final = "Triton, Python backend"
    settings: Final = (
        "one instance on CPU with one math thread, the bare loop's predictor, every batch size "
        "warmed up, binary tensors; with batching a queue delay of 1 ms, better than none; gRPC "
        "and metrics off; all else as it comes"
    )

    def missing(self) -> str:
        """Say whether its wheel is not installed, or not for this Python."""
        if not _ROOT.is_dir():
            return "it is not installed (`make bench` does, where its wheel fits)"
        return "" if _stub().exists() else f"its wheel has nothing for Python {_stub().parent.name}"

    def start(
        self, model: BenchModel, export: Path, folder: Path, max_batch_size: int
    ) -> HttpServer:
        """Start it over a repository in `folder`."""
        port = free_port()
        backend = folder / "backends" / "python"
        backend.mkdir(parents=True)
        for file in (*(_ROOT / "backends" / "python").iterdir(), _stub()):
            (backend / file.name).symlink_to(file)
        served = folder / "models" / model.name
        (served / "1").mkdir(parents=True)
        (served / "1" / "model.py").symlink_to(_MODEL)
        text = model_config(model, export, max_batch_size)
        (served / "config.pbtxt").write_text(text, encoding="utf-8")
        command = [
            str(_ROOT / "bin" / "tritonserver"), "--model-repository", str(folder / "models"),
            "--backend-directory", str(folder / "backends"), "--http-address", "127.0.0.1",
            "--http-port", str(port), "--allow-grpc", "0", "--allow-metrics", "0",
            "--exit-timeout-secs", "5",
        ]  # fmt: skip
        # its stub looks for packages where it runs, then where the `python3` of PATH has them
        for package in (_PACKAGES / "numpy", ROOT / "benchmarks"):
            (folder / package.name).symlink_to(package)
        libraries = f"{sysconfig.get_config_var('LIBDIR')}:{_PACKAGES / 'nvidia_pytriton.libs'}"
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": libraries,
        }
        return HttpServer(self.name, command, port, folder / "server.log", environment, folder)

    def request(self, model: BenchModel) -> Request:
        """Build the request, which is the same as Hotpaddle's."""
        return build_request(model, model.name, ENCODING)

    def values(self, answer: Answer) -> Floats:
        """Read the answer, which has the same form as Hotpaddle's."""
        return read_values(answer.headers, answer.body)


def model_config(model: BenchModel, export: Path, max_batch_size: int) -> str:
    """Write the model's `config.pbtxt`; without batching each request runs alone."""
    dims = ", ".join(str(dim) for dim in model.shape)
    return f"""\
backend: "python"
max_batch_size: {max_batch_size}
{_BATCHING if max_batch_size > 1 else ""}
input [{{ name: "{model.input_name}" data_type: TYPE_FP32 dims: [{dims}] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [-1] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
parameters {{ key: "export" value {{ string_value: "{export}" }} }}
"""


def _stub() -> Path:
    return _STUBS / f"{sys.version_info.major}.{sys.version_info.minor}" / _STUB
