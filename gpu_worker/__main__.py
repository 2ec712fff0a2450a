"""The worker's entry point: `python -m gpu_worker`, started by the supervisor only.

Owns the process: its death with the supervisor, its signals, its descriptors, its exit status.
Never forks, starts no thread of its own. Argument: one JSON object, see `WorkerArguments`.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import sys
import warnings
from typing import Final

from gpu_worker.ipc.arguments import WorkerArguments
from gpu_worker.ipc.child import die_with, ignore_terminal_signals

EXIT_DEVICE_REFUSED: Final = 4
_PR_SET_TIMERSLACK: Final = 29
_TIMER_SLACK_NS: Final = 1000


def main() -> int:
    """Run one worker to its end; give its exit status."""
    arguments = WorkerArguments.from_json(sys.argv[1])
    die_with(arguments.supervisor_pid)
    ignore_terminal_signals()
    if arguments.cpus:  # before any library counts the cores for its threads
        os.sched_setaffinity(0, arguments.cpus)
    # A batch waits for company some hundred microseconds; the default slack would add fifty.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _TIMER_SLACK_NS)
    faulthandler.enable()
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.simplefilter("ignore")  # importing paddle complains of compilers that it will not need

    # Only now: importing paddle takes a second or two, and the supervisor may die meanwhile. What
    # is imported stays: it is not searched for garbage while it comes, which takes a tenth of that
    # time, and no load has to walk through these 130,000 objects.
    gc.disable()
    from gpu_worker import device as device_check  # noqa: PLC0415
    from gpu_worker import predictor  # noqa: PLC0415
    from gpu_worker.ipc import messages  # noqa: PLC0415
    from gpu_worker.ipc.channel import PeerGone  # noqa: PLC0415
    from gpu_worker.ipc.control import ControlChannel  # noqa: PLC0415
    from gpu_worker.loop import Loop  # noqa: PLC0415
    from gpu_worker.memory import private_bytes  # noqa: PLC0415
    from gpu_worker.version import Predictor  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    ignore_terminal_signals()  # again: importing paddle puts its own handlers there
    control = ControlChannel.inherited(arguments.fds.control)
    device_name = device = arguments.device
    if device.startswith("gpu:"):
        index = int(device.removeprefix("gpu:"))
        facts = predictor.gpu_facts()
        try:
            if index >= facts["devices"]:
                raise RuntimeError("no such device")
            device_name = predictor.open_gpu(index)
        except Exception as error:  # noqa: BLE001 - Paddle raises what it likes
            reason = device_check.explain_gpu(index, facts, str(error))
            control.send(messages.DeviceRefused(reason))
            return EXIT_DEVICE_REFUSED

    def load(
        message: messages.Load, program_fd: int, params_fd: int, warmups: list[messages.Warmup]
    ) -> Predictor:
        settings = messages.PredictorSettings(**message.settings)
        batching = messages.BatchingSettings(**message.batching)
        return predictor.PaddlePredictor(
            program_fd, params_fd, message.program_suffix, device, settings, warmups, batching
        )

    try:
        control.send(messages.Hello(predictor.framework(), device_name, private_bytes()))
        pin, express = device != "cpu", arguments.express
        Loop(control, arguments.fds, load, pin=pin, express=express).run()
    except PeerGone:
        return 0  # the supervisor has ended; there is nobody to answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
