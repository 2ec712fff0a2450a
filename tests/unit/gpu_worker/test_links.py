"""The wait of the worker: to the microsecond, in the kernel, for any descriptor."""

from __future__ import annotations

import fcntl
import os
import resource
import time

import pytest

from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.link import Submission
from gpu_worker.ipc.messages import Stop
from gpu_worker.links import Links
from tests.unit.gpu_worker.loop_harness import Front


def test_what_has_come_is_told() -> None:
    ours, theirs = ControlChannel.pair()
    links = Links(theirs.sock.fileno(), pin=False)
    fronts = [Front(), Front()]
    for number, front in enumerate(fronts):
        links.attach(number, front.fds())
    assert links.wait(0) == (False, [])
    fronts[1].link.submit([Submission(1, 0, 0, 0, 0, 0, 0, 0)])
    assert links.wait(None) == (False, [links.find(1)])
    assert links.wait(None) == (False, [links.find(1)]), "it still rings"
    ours.send(Stop())
    control, rang = links.wait(None)
    assert control
    assert rang == [links.find(1)]
    links.detach(1)
    assert links.wait(None) == (True, [])
    assert links.detached
    links.close_detached()
    assert not links.detached
    links.detach(0)
    links.close_detached()
    links.close()
    for front in fronts:
        front.close()
    ours.close()
    theirs.close()


def test_a_wait_ends_when_it_should_and_takes_no_time_of_the_processor() -> None:
    ours, theirs = ControlChannel.pair()
    links = Links(theirs.sock.fileno(), pin=False)
    used = time.thread_time()
    shortest = 1.0
    for _ in range(20):
        started = time.monotonic_ns()
        assert links.wait(started + 300_000) == (False, [])
        waited = (time.monotonic_ns() - started) / 1e9
        assert waited >= 300e-6
        shortest = min(shortest, waited)
    assert shortest < 2e-3, "milliseconds are no measure for this"
    started = time.monotonic_ns()
    links.wait(started + 200_000_000)
    assert time.thread_time() - used < 0.1
    links.close()
    ours.close()
    theirs.close()


def test_descriptors_may_have_any_number() -> None:
    """An inherited one keeps its number, and `select` itself takes none above 1023."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1100:
        pytest.skip("this process may not open so many")
    ours, theirs = ControlChannel.pair()
    high = fcntl.fcntl(theirs.sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 1050)
    links = Links(high, pin=False)
    assert links.wait(time.monotonic_ns() + 1000) == (False, [])
    ours.send(Stop())
    assert links.wait(time.monotonic_ns() + 10_000_000_000) == (True, [])
    links.close()
    os.close(high)
    ours.close()
    theirs.close()
