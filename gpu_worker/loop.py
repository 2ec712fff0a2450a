"""The worker's loop: sleep in the kernel, take what has arrived, run it in batches, answer.

Owns the one version that this process holds and the requests that wait for it. One thread does
everything: control messages (load, unload, links, stop) and batches, each to its end; a process
that serves is never asked to load, the supervisor sees to that. The loop knows nothing of paddle:
it is given a way to load. Runs in the worker.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from gpu_worker import loading
from gpu_worker.answer import Answer, failed_answer, text_answer
from gpu_worker.batch import attempt, cut
from gpu_worker.express.parts import Express
from gpu_worker.heap import Heap
from gpu_worker.ipc import messages
from gpu_worker.ipc.channel import PeerGone
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import LinkFds, Status, Submission
from gpu_worker.ipc.vocabulary import ProtocolError
from gpu_worker.links import AttachedLink, Links
from gpu_worker.priority import lowered
from gpu_worker.request import Request, alike, by_link, grouped, request_of
from gpu_worker.responder import Responder
from gpu_worker.version import Arrays, Loader, Version

_BY_SUBMISSION: Final = attrgetter("submitted_ns")


class Loop:
    """Serves its links until the control channel ends."""

    def __init__(
        self,
        control: ControlChannel,
        fds: LinkFds,
        load: Loader,
        *,
        pin: bool = False,
        express: bool = True,
    ) -> None:
        """Serve the link of `fds` as link 0; `pin` the request arenas for a GPU.

        `express` has plain requests served by compiled code, if there is any.
        """
        self._control = control
        self._load = load
        self._links = Links(control.sock.fileno(), pin=pin)
        self._links.attach(0, fds)
        self._responder = Responder(self._wait_for_space)
        self._version: Version | None = None
        self._waiting: list[Request] = []
        self._express = Express(self._links, self._answer_run) if express and Express else None
        self._heap = Heap()
        self._nice = 0
        self._stopped = False

    def run(self) -> None:
        """Serve until told to stop or until the supervisor is gone."""
        until_ns: int | None = None
        while not self._stopped:
            if until_ns is None or (until_ns == 0 and self._all_plain()):
                until_ns = self._serve_plain()
            control, rang = self._links.wait(until_ns)
            if control:
                self._obey()
            for link in rang:
                if link.attached:
                    self._take_in(link, link.end.submissions())
            if len(rang) > 1:
                self._waiting.sort(key=_BY_SUBMISSION)
            until_ns = self._serve()
            self._close_detached()
        self._links.close()

    def _close_detached(self) -> None:
        if self._links.detached:
            self._waiting = [request for request in self._waiting if request.link.attached]
            self._links.close_detached()

    # Control

    def _obey(self) -> None:
        try:
            message, fds = self._control.receive()
        except PeerGone:
            self._stopped = True
            return
        match message:
            case messages.Load():
                try:
                    answer = self._take_up(message, (fds[0], fds[1]))
                finally:
                    for fd in fds:
                        os.close(fd)
                self._control.send(answer)
            case messages.Unload():
                with lowered(self._nice):
                    left = self._heap.vacated() if self._give_up() else self._heap.give_back()
                self._control.send(messages.Unloaded(left))
            case messages.SpaceFreed():
                pass  # for a link that was detached meanwhile
            case _:
                self._heed(message, fds, "a worker does not take")

    def _heed(self, message: messages.Message, fds: list[int], otherwise: str) -> None:
        """Do what may be asked at any time."""
        match message:
            case messages.Attach(link=number):
                rings, arena, submissions, completions = fds
                self._links.attach(number, LinkFds(rings, arena, submissions, completions, -1))
            case messages.Detach(link=number):
                self._links.detach(number)
            case messages.Stop():
                self._stopped = True
            case _:
                raise ProtocolError(f"{otherwise} {message}")

    def _wait_for_space(self, link: AttachedLink) -> None:
        """Sleep until all responses of a link are released, or the link is gone.

        Nothing but links can change meanwhile: nobody loads into a process that serves.

        Raises:
            PeerGone: the supervisor has gone, or wants this process to end.
            ProtocolError: it wants something else.

        """
        self._control.send(messages.NeedSpace(link.number))
        while link.attached:
            message, fds = self._control.receive()
            if isinstance(message, messages.SpaceFreed):
                if message.link == link.number:
                    return
            else:
                self._heed(message, fds, "a worker that waits for space got")
            if self._stopped:
                raise PeerGone

    # The version

    def _take_up(self, load: messages.Load, fds: tuple[int, int]) -> loading.Outcome:
        self._nice = load.nice
        with lowered(0 if load.urgent else load.nice, idle=load.idle):
            self._give_up()
            tell = self._control.send
            self._version, answer = loading.take_up(load, fds, self._load, tell, self._heap)
            if self._version is None:
                self._give_up()  # only now: `take_up` itself held the predictor
                self._heap.give_back()
            else:
                gc.collect()
        return answer

    def _give_up(self) -> bool:
        """Drop the version held, and refuse what waits for it; says whether there was one."""
        held, self._version = self._version is not None, None
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._refuse(request.link, [text_answer(request.submission, Status.STALE)])
        del waiting
        gc.collect()
        return held

    # Requests

    def _all_plain(self) -> bool:
        """Say whether compiled code may go on with what waits."""
        express, waiting, version = self._express, self._waiting, self._version
        if express is None or version is None or not 0 < len(waiting) <= express.room:
            return False
        return alike(waiting) and (version.predictor.shares or not waiting[0].alone)

    def _serve_plain(self) -> int | None:
        """Sleep and serve until something comes that is not plain; gives the time to look again."""
        if self._express is None or self._version is None:
            return None
        pairs = [(request.link, request.submission) for request in self._waiting]
        self._waiting = []  # they view memory that may have to be closed
        left = grouped(self._express.serve(self._version, pairs))
        for link, submissions in left.items():
            if link.attached:
                self._take_in(link, submissions)
        if len(left) > 1:
            self._waiting.sort(key=_BY_SUBMISSION)
        until_ns = self._serve()
        self._close_detached()
        return until_ns

    def _take_in(self, link: AttachedLink, submissions: Sequence[Submission]) -> None:
        """Take what a link has submitted; answer at once what cannot be run."""
        version = self._version
        refused: list[Answer] = []
        for submission in submissions:
            request = None
            try:
                if version is not None:
                    request = request_of(link, submission, version.layouts, version.load_id)
            except ValueError as error:
                refused.append(failed_answer(submission, error))
                continue
            if request is None:
                refused.append(text_answer(submission, Status.STALE))
            else:
                self._waiting.append(request)
        if refused:
            self._refuse(link, refused)

    def _serve(self) -> int | None:
        """Run one batch if there is one; give the time to look again, None for whenever one rings.

        One only, so that what arrives meanwhile is seen before the next is formed.
        """
        if not self._waiting or self._version is None:
            return None
        now_ns = time.monotonic_ns()
        positions, until_ns = self._version.batcher.decide(self._waiting, now_ns)
        if not positions:
            return until_ns
        batch = [self._waiting[position] for position in positions]
        if positions[-1] == len(positions) - 1:
            del self._waiting[: len(positions)]
        else:
            chosen = set(positions)
            self._waiting = [r for at, r in enumerate(self._waiting) if at not in chosen]
        expired = [r for r in batch if r.submission.deadline_ns <= now_ns]
        if expired:
            for request in expired:
                self._refuse(request.link, [text_answer(request.submission, Status.EXPIRED)])
            # Those left go back to the front: a batch is formed of what will be run.
            self._waiting[:0] = [r for r in batch if r.submission.deadline_ns > now_ns]
        else:
            self._run(self._version, batch, now_ns)
        return 0 if self._waiting else None

    def _run(self, version: Version, batch: list[Request], started_ns: int) -> None:
        """Run a batch and answer it; where that cannot be, run its members one by one."""
        ran = by_link(batch)
        for link, requests in ran:
            link.end.run([request.submission.request_id for request in requests])
        answers, inferred_ns = attempt(version, batch)
        if answers is not None:
            self._answer(ran, batch, answers, started_ns, inferred_ns)
        for link, _ in ran:
            link.end.run(())
        if answers is None:
            for request in batch:
                if request.link.attached:
                    self._run(version, [request], time.monotonic_ns())

    def _answer(
        self,
        ran: list[tuple[AttachedLink, list[Request]]],
        batch: list[Request],
        answers: list[Answer],
        started_ns: int,
        inferred_ns: int,
    ) -> None:
        for link, requests in ran:
            own = answers
            if requests is not batch:
                own = [a for a, r in zip(answers, batch, strict=True) if r.link is link]
            if link.attached:
                self._responder.send(link, own, started_ns, inferred_ns)

    def _answer_run(
        self,
        submissions: Sequence[tuple[AttachedLink, Submission]],
        outputs: Arrays | Exception,
        started_ns: int,
        inferred_ns: int,
    ) -> None:
        """Answer a batch that compiled code has run; or run its members one by one."""
        version = self._version
        assert version is not None
        taken = [request_of(*one, version.layouts, version.load_id) for one in submissions]
        batch = [request for request in taken if request is not None]
        assert len(batch) == len(taken), "slots are theirs until they are answered"
        answers = cut(version, batch, outputs)
        if answers is not None:
            self._answer(by_link(batch), batch, answers, started_ns, inferred_ns)
            return
        for link, _ in by_link(batch):
            link.end.run(())  # whoever is run next must not have others blamed
        for request in batch:
            if request.link.attached:
                self._run(version, [request], time.monotonic_ns())

    def _refuse(self, link: AttachedLink, answers: list[Answer]) -> None:
        """Answer requests of a link that are not run."""
        now_ns = time.monotonic_ns()
        if link.attached:
            self._responder.send(link, answers, now_ns, now_ns)
