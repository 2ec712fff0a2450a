"""The other process of the torture test: checks every payload, answers each, never imports paddle.

Arguments: the worker's arguments as JSON; the id of a request to stop at (0: none), so that the
test can kill this process in the middle of it.
"""

from __future__ import annotations

import select
import signal
import sys

from gpu_worker.ipc import messages
from gpu_worker.ipc.arena import ArenaReader
from gpu_worker.ipc.arguments import WorkerArguments
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import Completion, Status, Submission, WorkerEnd
from tests.unit.gpu_worker.torture_pattern import answer_to, payload_of


class Peer:
    """Answers until it is told to stop."""

    def __init__(self, arguments: WorkerArguments, stop_at: int) -> None:
        self.control = ControlChannel.inherited(arguments.fds.control)
        self.link = WorkerEnd(arguments.fds)
        self._arena = ArenaReader(arguments.fds.arena)
        self._stop_at = stop_at

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.control.sock, select.POLLIN)
        poll.register(self.link.submission_bell.fd, select.POLLIN)
        control_fd = self.control.sock.fileno()
        while True:
            for fd, _ in poll.poll():
                if fd == control_fd:
                    assert self.control.receive() == (messages.Stop(), [])
                    return
                for submission in self.link.submissions():
                    self.answer(submission)

    def answer(self, submission: Submission) -> None:
        request_id = submission.request_id
        self.link.run([request_id])
        payload = self._arena.payload(
            submission.slot_offset, submission.length, submission.slot_reuse, request_id
        )
        if request_id == self._stop_at:
            self.control.send(messages.Unloaded())  # the test's sign to kill
            signal.pause()
        if payload is None:
            status, answer = Status.STALE, b""
        elif (data := bytes(payload)) != payload_of(request_id):
            status, answer = Status.FAILED, data[:100]
        else:
            status, answer = Status.OK, answer_to(data, request_id)
        while (place := self.link.responses.reserve(len(answer))) is None:
            self.control.send(messages.NeedSpace())
            assert self.control.receive() == (messages.SpaceFreed(), [])
        place[1][:] = answer
        self.link.responses.commit(place[0], len(answer))
        self.link.complete(
            [Completion(request_id, submission.slot_reuse, status, place[0], len(answer), 0, 0, 0)]
        )
        self.link.run([])


if __name__ == "__main__":
    Peer(WorkerArguments.from_json(sys.argv[1]), int(sys.argv[2])).run()
