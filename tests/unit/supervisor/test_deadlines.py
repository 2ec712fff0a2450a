"""Deadlines: who is watched is told in time, once, in order, by one timer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from supervisor.deadlines import Deadlines
from tests.unit.supervisor.http.loops import on_both_loops, run, until

MS = 1_000_000
LONG = 3_600_000 * MS


class Timers:
    """The running loop's `call_later`, counted."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.set = 0
        self.armed: list[asyncio.TimerHandle] = []

    def call_later(self, delay: float, call: Callable[..., Any], *more: Any) -> asyncio.TimerHandle:
        self.set += 1

        def fire() -> None:
            self.armed.remove(handle)  # its time is no sign: the loop's clock has a coarse grain
            call(*more)

        handle = self.loop.call_later(delay, fire)
        self.armed.append(handle)
        return handle

    @property
    def pending(self) -> int:
        return sum(not one.cancelled() for one in self.armed)


def watch(expired: list[str]) -> tuple[Deadlines[str], Timers]:
    deadlines: Deadlines[str] = Deadlines(expired.append)
    timers = Timers()
    deadlines._loop = timers  # type: ignore[assignment]  # noqa: SLF001 - to count its timers
    return deadlines, timers


@on_both_loops
async def test_what_is_due_expires_and_not_before() -> None:
    told: list[tuple[str, int]] = []
    deadlines: Deadlines[str] = Deadlines(lambda one: told.append((one, time.monotonic_ns())))
    due = {name: time.monotonic_ns() + ms * MS for name, ms in (("a", 30), ("b", 5), ("c", 15))}
    for name, deadline_ns in due.items():
        deadlines.watch(name, deadline_ns)
    assert len(deadlines) == 3
    await until(lambda: len(told) == 3)
    assert sorted(name for name, _ in told) == ["a", "b", "c"]
    assert all(at >= due[name] for name, at in told)
    assert len(deadlines) == 0


@on_both_loops
async def test_the_sooner_goes_first_in_whatever_order_they_came() -> None:
    expired: list[str] = []
    deadlines: Deadlines[str] = Deadlines(expired.append)
    deadlines.watch("last", time.monotonic_ns() + LONG)
    deadlines.watch("first", time.monotonic_ns() + 2 * MS)
    deadlines.watch("later", time.monotonic_ns() + LONG)
    await until(lambda: expired)
    deadlines.watch("second", time.monotonic_ns() + MS)
    await until(lambda: len(expired) == 2)
    assert (expired, len(deadlines)) == (["first", "second"], 2)
    deadlines.close()


@on_both_loops
async def test_a_deadline_that_has_passed_expires_soon_but_not_at_once() -> None:
    expired: list[str] = []
    deadlines: Deadlines[str] = Deadlines(expired.append)
    deadlines.watch("a", time.monotonic_ns() - 2 * LONG)
    deadlines.watch("b", time.monotonic_ns() - LONG)
    assert expired == []
    await until(lambda: len(expired) == 2)
    assert expired == ["a", "b"]


@on_both_loops
async def test_what_is_forgotten_does_not_expire() -> None:
    expired: list[str] = []
    deadlines: Deadlines[str] = Deadlines(expired.append)
    soon = time.monotonic_ns() + 2 * MS
    for name in ("a", "b", "c"):
        deadlines.watch(name, soon)
    deadlines.forget("a")
    deadlines.forget("a")
    deadlines.forget("never watched")
    await until(lambda: len(expired) == 2)
    assert (expired, len(deadlines)) == (["b", "c"], 0)


@on_both_loops
async def test_what_is_forgotten_by_another_that_expires_does_not_expire() -> None:
    expired: list[str] = []

    def expire(one: str) -> None:
        expired.append(one)
        deadlines.forget("b")

    deadlines: Deadlines[str] = Deadlines(expire)
    for name in ("a", "b", "c"):
        deadlines.watch(name, 0)
    await until(lambda: not len(deadlines))
    assert expired == ["a", "c"]


@on_both_loops
async def test_what_is_watched_while_others_expire_expires_too() -> None:
    expired: list[str] = []

    def expire(one: str) -> None:
        expired.append(one)
        if len(expired) < 5:
            deadlines.watch(f"{one}+", time.monotonic_ns() + MS)

    deadlines: Deadlines[str] = Deadlines(expire)
    deadlines.watch("a", time.monotonic_ns() - 2 * LONG)
    deadlines.watch("late", time.monotonic_ns() + LONG)
    await until(lambda: len(expired) == 5)
    assert (expired[-1], len(deadlines)) == ("a++++", 1)
    deadlines.close()


@on_both_loops
async def test_any_number_is_watched_by_one_timer() -> None:
    expired: list[str] = []
    deadlines, timers = watch(expired)
    later = time.monotonic_ns() + LONG
    for number in range(1000):
        deadlines.watch(str(number), later + number)
    for number in range(1000):
        deadlines.forget(str(number))
        deadlines.watch(str(number), later + number)
    assert timers.set == 1
    deadlines.watch("sooner", time.monotonic_ns() + MS)
    assert (timers.set, timers.pending) == (2, 1)
    await until(lambda: expired == ["sooner"])
    assert (timers.pending, len(deadlines)) == (1, 1000)
    assert timers.set < 10, "one, and one more each time that the loop's clock was early"
    deadlines.close()
    assert timers.pending == 0


@on_both_loops
async def test_a_timer_that_nobody_needs_any_more_serves_the_next() -> None:
    expired: list[str] = []
    deadlines, timers = watch(expired)
    deadlines.watch("gone", time.monotonic_ns() + 5 * MS)
    deadlines.forget("gone")
    deadlines.watch("next", time.monotonic_ns() + 10 * MS)
    assert timers.set == 1
    await until(lambda: expired == ["next"])
    deadlines.watch("last", time.monotonic_ns() + MS)
    await until(lambda: expired == ["next", "last"])


@on_both_loops
async def test_watching_again_sets_another_deadline() -> None:
    expired: list[str] = []
    deadlines: Deadlines[str] = Deadlines(expired.append)
    deadlines.watch("later", time.monotonic_ns() + MS)
    deadlines.watch("later", time.monotonic_ns() + LONG)
    deadlines.watch("sooner", time.monotonic_ns() + LONG)
    deadlines.watch("sooner", time.monotonic_ns() + 3 * MS)
    await until(lambda: expired)
    assert (expired, len(deadlines)) == (["sooner"], 1)
    deadlines.close()


@on_both_loops
async def test_a_close_ends_it() -> None:
    expired: list[str] = []
    deadlines, timers = watch(expired)
    deadlines.watch("a", time.monotonic_ns() - 2 * LONG)
    deadlines.close()
    assert len(deadlines) == 0
    assert all(timer.cancelled() for timer in timers.armed)
    assert expired == []


NAMES = st.sampled_from("abcdef")


@given(st.lists(st.tuples(NAMES, st.none() | st.integers(-5, 12)), min_size=1, max_size=12))
def test_any_order_of_watching_and_forgetting(steps: list[tuple[str, int | None]]) -> None:
    async def play() -> None:
        told: list[tuple[str, int]] = []
        deadlines: Deadlines[str] = Deadlines(lambda one: told.append((one, time.monotonic_ns())))
        start = time.monotonic_ns()
        wanted: dict[str, int] = {}
        for name, ms in steps:
            if ms is None:
                deadlines.forget(name)
                wanted.pop(name, None)
            else:
                wanted[name] = start + ms * MS
                deadlines.watch(name, wanted[name])
        assert len(deadlines) == len(wanted)
        await until(lambda: not len(deadlines))
        assert sorted(name for name, _ in told) == sorted(wanted)
        assert all(at >= wanted[name] for name, at in told)

    run(play())
