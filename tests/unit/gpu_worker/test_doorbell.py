"""The doorbell: counts add up, reading clears them, poll sees them."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from gpu_worker.ipc.doorbell import Doorbell


@pytest.fixture
def bell() -> Iterator[Doorbell]:
    bell = Doorbell.create()
    yield bell
    bell.close()


def rings(bell: Doorbell) -> bool:
    return bool(select.select([bell.fd], [], [], 0)[0])


def test_a_new_doorbell_is_silent(bell: Doorbell) -> None:
    assert not rings(bell)
    assert bell.answer() == 0


def test_counts_add_up_until_they_are_read(bell: Doorbell) -> None:
    bell.ring()
    bell.ring(5)
    bell.ring(1 << 40)
    assert rings(bell)
    assert bell.answer() == 6 + (1 << 40)
    assert not rings(bell)
    assert bell.answer() == 0


def test_ringing_for_nothing_stays_silent(bell: Doorbell) -> None:
    bell.ring(0)
    assert not rings(bell)
    assert bell.answer() == 0


def test_another_process_end_shares_the_count(bell: Doorbell) -> None:
    other = Doorbell(os.dup(bell.fd))
    other.ring(3)
    assert bell.answer() == 3
    assert other.answer() == 0
    other.close()


def test_an_inherited_doorbell_never_blocks() -> None:
    fd = os.eventfd(0, 0)
    bell = Doorbell(fd)
    assert bell.answer() == 0
    bell.close()


def test_its_descriptor_is_not_inherited_by_accident(bell: Doorbell) -> None:
    assert not os.get_inheritable(bell.fd)


def test_a_closed_doorbell_gives_its_descriptor_back() -> None:
    bell = Doorbell.create()
    bell.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(bell.fd)
