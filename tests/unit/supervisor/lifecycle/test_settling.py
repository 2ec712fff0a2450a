"""Settling: a version counts as complete after a time without a write."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.lifecycle.settling import Settling
from supervisor.repository.layout import VersionListing


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def version(fingerprint: str = "f", name: str = "v1", age_s: float = 0.0) -> VersionListing:
    return VersionListing(name, Path(), fingerprint=fingerprint, newest_ctime=time.time() - age_s)


def test_it_is_settled_once_it_was_seen_unchanged_for_so_long(clock: Clock) -> None:
    settling = Settling(2.0, clock, trust_ctime=False)
    for now, expected in ((100.0, False), (101.9, False), (102.0, True), (500.0, True)):
        clock.now = now
        assert settling.settled("m", version(age_s=1000)) is expected


def test_each_change_starts_the_time_again(clock: Clock) -> None:
    settling = Settling(2.0, clock, trust_ctime=False)
    for step in range(10):
        clock.now += 1.9
        assert not settling.settled("m", version(f"f{step}"))
    clock.now += 1.9
    assert not settling.settled("m", version("f9"))
    clock.now += 0.2
    assert settling.settled("m", version("f9"))


def test_versions_and_models_settle_by_themselves(clock: Clock) -> None:
    settling = Settling(2.0, clock, trust_ctime=False)
    settling.settled("m", version())
    clock.now += 2
    assert settling.settled("m", version())
    assert not settling.settled("n", version())
    assert not settling.settled("m", version(name="v2"))


def test_files_of_this_host_are_settled_by_their_change_time(clock: Clock) -> None:
    settling = Settling(60.0, clock, trust_ctime=True)
    assert settling.settled("m", version(age_s=61))
    assert not settling.settled("m", version(age_s=0))


def test_a_change_time_in_the_future_is_not_waited_for(clock: Clock) -> None:
    settling = Settling(60.0, clock, trust_ctime=True)
    assert not settling.settled("m", version(age_s=-100_000))
    clock.now += 60
    assert settling.settled("m", version(age_s=-100_000))


def test_without_a_settling_time_everything_is_settled(clock: Clock) -> None:
    settling = Settling(0.0, clock, trust_ctime=False)
    assert settling.settled("m", version())
    assert settling.settled("m", version("g"))


def test_what_is_no_longer_there_is_forgotten(clock: Clock) -> None:
    settling = Settling(2.0, clock, trust_ctime=False)
    for name in ("v1", "v2", ""):
        settling.settled("m", version(name=name))
    settling.settled("n", version(name="v1"))
    settling.keep("m", ["v2"])
    clock.now += 2
    assert not settling.settled("m", version(name="v1"))
    assert settling.settled("m", version(name="v2"))
    assert settling.settled("m", replace(version(), name=""))
    assert settling.settled("n", version(name="v1"))
