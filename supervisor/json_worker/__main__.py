"""The JSON worker's entry point: `python -m supervisor.json_worker`, started by the supervisor.

Owns the process and its loop: sleep in the kernel, take a piece of work, answer. One thread. Dies
with the supervisor. Argument: one JSON object, `WorkerArguments`.
"""

from __future__ import annotations

import select
import sys
import time

from gpu_worker.ipc.arena import ArenaReader
from gpu_worker.ipc.arguments import WorkerArguments
from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.child import die_with, ignore_terminal_signals
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import Completion, Status, Submission, WorkerEnd
from gpu_worker.ipc.messages import NeedSpace, SpaceFreed
from gpu_worker.ipc.response_ring import ResponseTooLarge
from gpu_worker.ipc.vocabulary import ProtocolError
from supervisor.errors import BadRequest
from supervisor.json_worker import work
from supervisor.json_worker.decoder import RequestDecoder


def main() -> int:
    """Serve until the supervisor is gone."""
    arguments = WorkerArguments.from_json(sys.argv[1])
    die_with(arguments.supervisor_pid)
    ignore_terminal_signals()
    control = ControlChannel.inherited(arguments.fds.control)
    link = WorkerEnd(arguments.fds)
    arena = ArenaReader(arguments.fds.arena)
    decoder = RequestDecoder()
    poll = select.poll()
    poll.register(control.sock, select.POLLIN)
    poll.register(link.submission_bell.fd, select.POLLIN)
    try:
        while True:
            for fd, _ in poll.poll():
                if fd == control.sock.fileno():
                    return 0  # the supervisor says nothing but its end
                for submission in link.submissions():
                    _serve(control, link, arena, decoder, submission)
    except PeerGone:
        return 0


def _serve(
    control: ControlChannel,
    link: WorkerEnd,
    arena: ArenaReader,
    decoder: RequestDecoder,
    submission: Submission,
) -> None:
    started = time.monotonic_ns()
    link.run([submission.request_id])
    payload = arena.payload(
        submission.slot_offset, submission.length, submission.slot_reuse, submission.request_id
    )
    status, arrays, text = Status.OK, None, b""
    if payload is None:
        status = Status.STALE
    else:
        try:
            kind, at = submission.load_id & 1, submission.load_id >> 1
            if kind == work.DECODE:
                arrays = decoder.decode(payload[at:])
            else:
                arrays = work.encode(payload[at:], submission.output_mask)
        except BadRequest as error:
            status, text = Status.FAILED, str(error).encode(errors="replace")
        except Exception as error:  # noqa: BLE001 - one bad request fails alone
            status, text = Status.FAILED, f"the JSON broke its parser: {error!r}".encode()
    length = len(text) if arrays is None else work.answer_size(arrays)
    try:
        position, memory = _reserve(control, link, length)
    except ResponseTooLarge:
        status, arrays = Status.TOO_LARGE, None
        text = f"the JSON's numbers take {length} bytes: send binary data".encode()
        length = len(text)
        position, memory = _reserve(control, link, length)
    if arrays is None:
        memory[:] = text
    else:
        work.write_answer(memory, arrays)
    link.responses.commit(position, length)
    now = time.monotonic_ns()
    completion = Completion(
        submission.request_id, submission.slot_reuse, status, position, length, started, now, now
    )
    link.complete([completion])
    link.run([])


def _reserve(control: ControlChannel, link: WorkerEnd, length: int) -> tuple[int, memoryview]:
    """Find room for an answer; where there is none, sleep until the supervisor says so.

    Raises:
        ResponseTooLarge: it can never fit.
        PeerGone: the supervisor has gone.

    """
    while (place := link.responses.reserve(length)) is None:
        control.send(NeedSpace())
        message, _ = control.receive()
        if not isinstance(message, SpaceFreed):
            raise ProtocolError(f"the JSON worker waits for space and got {message}")
    return place


if __name__ == "__main__":
    sys.exit(main())
