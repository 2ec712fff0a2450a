"""The predictor: Paddle's inference API for one model version. The only file that imports paddle.

Owns the translation of our settings into Paddle's `Config`, one predictor with its handles, and the
tensors that let it read our input buffers where they are. Never sees a ring or a request, and never
gives Paddle memory that is not this process's own. Runs in the worker.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
from paddle import inference

from gpu_worker.buffers import Buffers, Inputs, Shapes
from gpu_worker.ipc.load_folder import load_folder_prefix
from gpu_worker.ipc.messages import BatchingSettings, PredictorSettings, Warmup
from gpu_worker.ipc.tensors import BY_NAME, Contract
from gpu_worker.layout import can_batch
from gpu_worker.params import check_params
from gpu_worker.program import read_contract
from gpu_worker.warmup import batch_runs, plan

Arrays = list[npt.NDArray[Any]]


def framework() -> str:
    """Name Paddle and its version."""
    return f"paddle {paddle.__version__}"


def open_gpu(index: int) -> str:
    """Create the CUDA context of GPU `index` and keep it for life; give the device's name.

    Raises:
        RuntimeError: Paddle cannot use the device.

    """
    paddle.device.set_device(f"gpu:{index}")
    paddle.zeros([1]).numpy()  # the first kernel: creates context, stream and handles
    return str(paddle.device.cuda.get_device_name(index))


def gpu_facts() -> dict[str, Any]:
    """Tell what Paddle itself knows of GPUs, to explain why one cannot be used."""
    compiled = bool(paddle.is_compiled_with_cuda())
    return {
        "compiled_with_cuda": compiled,
        "cuda_version": str(paddle.version.cuda()) if compiled else "",
        "devices": int(paddle.device.cuda.device_count()) if compiled else 0,
    }


class PaddlePredictor:
    """One loaded model version.

    The files come as descriptors of sealed memory and are opened through /proc/self/fd, so that
    what was checked is what runs. Paddle tells the two formats apart by the file's suffix only,
    hence the links with proper names in a folder that exists during the load.
    """

    def __init__(
        self,
        program_fd: int,
        params_fd: int,
        suffix: str,
        device: str,
        settings: PredictorSettings,
        warmups: Sequence[Warmup] = (),
        batching: BatchingSettings | None = None,
    ) -> None:
        """Load a version.

        The shapes of `warmups`, in all the sizes of `batching`, bound what TensorRT builds its
        engines for.

        Raises:
            ProgramError: the program file is not one, or its contract cannot be carried.
            ParamsError: the parameter file is truncated or none.
            Exception: whatever Paddle raises; it may also end the process.

        """
        self.contract = read_contract(_read(program_fd), suffix)
        check_params(params_fd)
        with tempfile.TemporaryDirectory(prefix=load_folder_prefix(os.getpid())) as folder:
            program = f"{folder}/inference{suffix}"
            params = f"{folder}/inference.pdiparams"
            Path(program).symlink_to(f"/proc/self/fd/{program_fd}")
            Path(params).symlink_to(f"/proc/self/fd/{params_fd}")
            shapes = _shapes(self.contract, warmups, batching or BatchingSettings())
            config = _config(program, params, suffix, device, settings, shapes)
            self._predictor = inference.create_predictor(config)
        known = self._predictor.get_input_names(), self._predictor.get_output_names()
        self._inputs = [
            self._predictor.get_input_handle(_known(spec.name, known[0]))
            for spec in self.contract.inputs
        ]
        self._outputs = [
            self._predictor.get_output_handle(_known(spec.name, known[1]))
            for spec in self.contract.outputs
        ]
        self._dtypes = [BY_NAME[spec.datatype].dtype for spec in self.contract.outputs]
        dtypes = [BY_NAME[spec.datatype].dtype for spec in self.contract.inputs]
        # Sharing does not keep the memory alive, and Paddle copies into what was shared last if the
        # new data fits: what it was tried with stays for as long as the predictor.
        self._probe = _zeros(self.contract)
        self.shares = device == "cpu" and _can_share(self._probe, self._inputs)
        self._buffers = Buffers(dtypes, _tensors_of) if self.shares else Buffers(dtypes)

    def buffers(self, shapes: Shapes) -> Inputs:
        """Give the buffers for inputs of these shapes, to be filled before `run_buffers`."""
        return self._buffers.get(shapes)

    def run_buffers(self, inputs: Inputs) -> Arrays:
        """Run with what stands in the buffers: outputs in the contract's order.

        Raises:
            RuntimeError: Paddle refuses the shapes or fails, or an output's type is not the one
                that the program declares.

        """
        if self.shares:
            for handle, tensor in zip(self._inputs, inputs.handed, strict=True):
                handle.share_external_data(tensor)  # each time: half a microsecond, never stale
        else:
            for handle, array in zip(self._inputs, inputs.arrays, strict=True):
                handle.copy_from_cpu(array)
        return self._run()

    def run(self, inputs: Sequence[npt.NDArray[Any]]) -> Arrays:
        """Run with arrays that lie anywhere: inputs and outputs in the contract's order.

        Raises:
            RuntimeError: as `run_buffers`.

        """
        if self.shares:
            # A copy by Paddle would go into the memory that was shared before.
            kept = self.buffers(tuple(array.shape for array in inputs))
            for buffer, array in zip(kept.arrays, inputs, strict=True):
                buffer[...] = array
            return self.run_buffers(kept)
        for handle, array in zip(self._inputs, inputs, strict=True):
            handle.copy_from_cpu(array)
        return self._run()

    def _run(self) -> Arrays:
        if self._predictor.run() is False:
            raise RuntimeError("Paddle's predictor.run() said that it failed")
        outputs = [handle.copy_to_cpu() for handle in self._outputs]
        for spec, dtype, array in zip(self.contract.outputs, self._dtypes, outputs, strict=True):
            if array.dtype != dtype:
                raise RuntimeError(
                    f"output {spec.name!r} is {array.dtype}, the program declares {dtype}"
                )
        return outputs


def _tensors_of(arrays: Sequence[npt.NDArray[Any]]) -> list[Any]:
    """Wrap arrays as Paddle's tensors over the same memory.

    Not as `paddle.Tensor`: making one takes ten times as long and loses 100 bytes (3.3.1).
    """
    core = paddle.base.core
    kind = core.DenseTensor if hasattr(core, "DenseTensor") else core.LoDTensor  # Paddle 2
    tensors = [kind() for _ in arrays]
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.set(array, paddle.CPUPlace(), True)  # zero_copy
    return tensors


def _zeros(contract: Contract) -> Arrays:
    """Make the smallest inputs that the contract allows."""
    return [
        np.zeros([1 if dim == -1 else dim for dim in spec.shape], BY_NAME[spec.datatype].dtype)
        for spec in contract.inputs
    ]


def _can_share(arrays: Arrays, handles: Sequence[Any]) -> bool:
    """Try whether the handles see what is written to our memory after it was shared.

    Paddle shares no INT8 and no FP64 (3.3.1, 2.6.2); another version may have no such call.
    """
    try:
        for handle, array, tensor in zip(handles, arrays, _tensors_of(arrays), strict=True):
            handle.share_external_data(tensor)
            array[...] = 1
            if not np.array_equal(handle.copy_to_cpu(), array):
                return False
    except Exception:  # noqa: BLE001 - Paddle raises what it likes; copying always works
        return False
    return True


def _shapes(
    contract: Contract, warmups: Sequence[Warmup], batching: BatchingSettings
) -> list[Warmup]:
    """Give the declared warm-ups and those of the batch sizes."""
    if not warmups:
        return []
    runs = plan(contract, list(warmups), batching.pad)
    if batching.max_batch_size > 1 and can_batch(contract):
        named, _ = batch_runs(contract, runs, batching)
        return [*runs, *named]
    return runs


def _known(name: str, names: list[str]) -> str:
    if name not in names:
        raise RuntimeError(f"the program declares {name!r}, Paddle offers {names}")
    return name


def _read(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0)


def _config(
    program: str,
    params: str,
    suffix: str,
    device: str,
    settings: PredictorSettings,
    warmups: Sequence[Warmup],
) -> inference.Config:
    config = inference.Config(program, params)
    config.disable_glog_info()
    if device.startswith("gpu:"):
        _use_gpu(config, int(device.removeprefix("gpu:")), settings, warmups)
    else:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(settings.cpu_threads)
        if settings.onednn:
            config.enable_mkldnn()
        elif hasattr(config, "disable_mkldnn"):
            config.disable_mkldnn()
    if suffix == ".pdmodel":
        config.enable_memory_optim()  # raises on a PIR program (3.3.1)
    return config


def _use_gpu(
    config: inference.Config, index: int, settings: PredictorSettings, warmups: Sequence[Warmup]
) -> None:
    precision = {
        "fp32": inference.PrecisionType.Float32,
        "fp16": inference.PrecisionType.Half,
        "int8": inference.PrecisionType.Int8,
    }[settings.precision]
    if settings.precision == "fp16" and not settings.tensorrt:
        config.enable_use_gpu(settings.gpu_pool_mb, index, precision)
    else:
        config.enable_use_gpu(settings.gpu_pool_mb, index)
    if settings.tensorrt:
        if settings.tensorrt_cache_dir:
            config.set_optim_cache_dir(settings.tensorrt_cache_dir)
        config.enable_tensorrt_engine(
            workspace_size=settings.tensorrt_workspace_mb << 20,
            min_subgraph_size=3,
            precision_mode=precision,
            use_static=bool(settings.tensorrt_cache_dir),
            use_calib_mode=False,
        )
        if warmups:
            shapes = {
                name: [run.shapes[name] for run in warmups if name in run.shapes]
                for name in warmups[0].shapes
            }
            config.set_trt_dynamic_shape_info(
                {
                    name: [min(dims) for dims in zip(*of, strict=True)]
                    for name, of in shapes.items()
                },
                {
                    name: [max(dims) for dims in zip(*of, strict=True)]
                    for name, of in shapes.items()
                },
                {name: of[0] for name, of in shapes.items()},
            )
