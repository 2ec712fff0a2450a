"""The worker's entry point: `python -m gpu_worker`, started by the supervisor only.

Owns the process: its death with the supervisor, its signals, its descriptors, its exit status.
Never forks, starts no thread of its own. Argument: one JSON object, see `WorkerArguments`.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
from typing import Final

from gpu_worker.ipc.arguments import WorkerArguments

EXIT_DEVICE_REFUSED: Final = 4
_PR_SET_PDEATHSIG: Final = 1


def die_with(supervisor_pid: int) -> None:
    """Have the kernel kill this process when the supervisor ends, even in the middle of a load.

    The control channel's end says the same, but is only read between two pieces of work.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor_pid:  # it died before the kernel was told
        sys.exit(1)


def ignore_terminal_signals() -> None:
    """Obey the control channel alone: a terminal or systemd signals the whole group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)


def main() -> int:
    """Run one worker to its end; give its exit status."""
    arguments = WorkerArguments.from_json(sys.argv[1])
    die_with(arguments.supervisor_pid)
    ignore_terminal_signals()
    faulthandler.enable()
    os.environ.setdefault("GLOG_minloglevel", "2")

    # Only now: importing paddle takes a second or two, and the supervisor may die meanwhile.
    from gpu_worker import device as device_check  # noqa: PLC0415
    from gpu_worker import predictor  # noqa: PLC0415
    from gpu_worker.ipc import messages  # noqa: PLC0415
    from gpu_worker.ipc.arena import ArenaReader  # noqa: PLC0415
    from gpu_worker.ipc.control import ControlChannel, PeerGone  # noqa: PLC0415
    from gpu_worker.ipc.link import WorkerEnd  # noqa: PLC0415
    from gpu_worker.loop import Loop, Predictor  # noqa: PLC0415

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
        return predictor.PaddlePredictor(
            program_fd, params_fd, message.program_suffix, device, settings, warmups
        )

    try:
        control.send(messages.Hello(predictor.framework(), device_name))
        loop = Loop(control, WorkerEnd(arguments.fds), ArenaReader(arguments.fds.arena), load)
        loop.run()
    except PeerGone:
        return 0  # the supervisor has ended; there is nobody to answer
    return 0


if __name__ == "__main__":
    sys.exit(main())
