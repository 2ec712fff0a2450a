"""What a front says to a supervisor that does not read: it is kept, with its descriptors."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from gpu_worker.ipc.link import close_fds
from supervisor.access.caller import Caller
from supervisor.fronts import messages
from tests.unit.gpu_worker.descriptors import open_descriptors
from tests.unit.supervisor.front_process.talk import talk
from tests.unit.supervisor.http.loops import on_both_loops

CALLER = Caller("127.0.0.1")


async def test_descriptors_are_closed_here_once_they_are_sent() -> None:
    async with talk() as one:
        before = open_descriptors()
        sock = one.front.pass_on(CALLER)
        _, fds = await one.heard(messages.PassOn)
        sock.send(b"hello")
        assert os.read(fds[0], 10) == b"hello"
        os.write(fds[0], b"hello back")
        assert sock.recv(20) == b"hello back"
        close_fds(fds)
        assert sock.recv(1) == b"", "nobody else has the other end"
        sock.close()
        assert open_descriptors() == before


@on_both_loops
async def test_a_supervisor_that_does_not_read_misses_nothing() -> None:
    async with talk() as one:
        before = open_descriptors()
        count = 0
        while not one.front._outbox._unsent or count % 50:  # noqa: SLF001 - shows nowhere
            count += 1
            one.front.say(messages.SpaceFreed(count))
        sock = one.front.pass_on(CALLER)
        one.front.say(messages.Listening())
        assert len(open_descriptors()) == len(before) + 2
        for number in range(1, count + 1):
            assert await one.heard(messages.SpaceFreed) == (messages.SpaceFreed(number), [])
        _, fds = await one.heard(messages.PassOn)
        await one.heard(messages.Listening)
        close_fds(fds)
        assert sock.recv(1) == b""
        sock.close()
        assert open_descriptors() == before
        one.front.say(messages.Listening())  # as before
        await one.heard(messages.Listening)
        with pytest.raises(BlockingIOError):
            one.supervisor.receive()


async def test_without_descriptors_left_nothing_is_said_and_nothing_stays_open() -> None:
    async with talk() as one:
        highest = max(map(int, open_descriptors()))
        fillers = [os.dup(0)]
        while fillers[-1] < highest:  # no gap is left between them
            fillers.append(os.dup(0))
        before = open_descriptors()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 3, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                one.front.say(messages.Link(7), (0, 0, 0, 0))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert open_descriptors() == before
        close_fds(fillers)
        one.front.say(messages.Listening())
        await one.heard(messages.Listening)


async def test_what_the_kernel_refuses_is_said_later() -> None:
    """The kernel refuses descriptors of which too many are under way (ETOOMANYREFS)."""
    async with talk() as one:
        real, refusals = one.theirs.send, 2

        def send(message: messages.FrontMessage, fds: tuple[int, ...] = ()) -> None:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise OSError(errno.ETOOMANYREFS, "Too many references")
            real(message, fds)

        one.theirs.send = send  # type: ignore[method-assign]  # as root the kernel never does
        sock = one.front.pass_on(CALLER)
        one.front.say(messages.Listening())
        _, fds = await one.heard(messages.PassOn)
        close_fds(fds)
        await one.heard(messages.Listening)
        sock.close()
