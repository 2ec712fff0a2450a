"""Triggers: any number of them become one pass, and nobody hears of a pass begun before."""

from __future__ import annotations

import asyncio

import pytest

from supervisor.lifecycle.triggers import Triggers
from supervisor.lifecycle.verdict import Outcome, Verdict

VERDICTS = {"ocr": Verdict("ocr", Outcome.LIVE, "v7", 3)}


async def waiting(triggers: Triggers, name: str) -> asyncio.Task[object]:
    """Ask for verdicts and go on once that was noted."""
    task: asyncio.Task[object] = asyncio.ensure_future(triggers.verdicts(name))
    await asyncio.sleep(0)
    return task


async def test_a_hundred_triggers_are_one_pass() -> None:
    triggers = Triggers()
    for number in range(100):
        triggers.add("inotify" if number % 2 else "poll")
    assert await triggers.take() == ("inotify+poll", [])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await triggers.take()


async def test_a_pass_waits_for_a_trigger() -> None:
    triggers = Triggers()
    taking = asyncio.ensure_future(triggers.take())
    await asyncio.sleep(0)
    assert not taking.done()
    triggers.add("sighup")
    assert await taking == ("sighup", [])


async def test_a_trigger_during_a_pass_starts_another() -> None:
    triggers = Triggers()
    triggers.add("start")
    await triggers.take()
    triggers.add("inotify")
    triggers.add("inotify")
    assert (await triggers.take())[0] == "inotify"


async def test_who_waits_hears_only_of_a_pass_that_began_later() -> None:
    triggers = Triggers()
    triggers.add("start")
    _, of_the_first = await triggers.take()
    task = await waiting(triggers, "rest")
    assert of_the_first == []
    assert not task.done()
    name, waiters = await triggers.take()
    assert (name, len(waiters)) == ("rest", 1)
    waiters[0].set_result(VERDICTS)
    assert await task == VERDICTS


async def test_all_who_wait_hear_of_the_same_pass_once() -> None:
    triggers = Triggers()
    tasks = [await waiting(triggers, name) for name in ("rest", "admin", "rest")]
    name, waiters = await triggers.take()
    assert (name, len(waiters)) == ("admin+rest", 3)
    for waiter in waiters:
        waiter.set_result(VERDICTS)
    assert await asyncio.gather(*tasks) == [VERDICTS] * 3
    triggers.add("poll")
    assert await triggers.take() == ("poll", [])


async def test_who_goes_away_leaves_a_waiter_that_is_done() -> None:
    triggers = Triggers()
    task = await waiting(triggers, "rest")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    _, (waiter,) = await triggers.take()
    assert waiter.done()


def test_a_verdict_says_all_in_json() -> None:
    assert VERDICTS["ocr"].to_json() == {
        "model": "ocr", "outcome": "live", "version": "v7", "generation": 3, "reason": "",
    }  # fmt: skip


async def test_what_is_asked_for_while_nothing_is_taken_is_kept() -> None:
    triggers = Triggers()
    taking = asyncio.ensure_future(triggers.take())
    await asyncio.sleep(0)
    assert triggers.hold()
    triggers.add("sighup")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not taking.done()
    triggers.let_go()
    assert await taking == ("sighup", [])


async def test_nothing_is_held_while_somebody_waits() -> None:
    triggers = Triggers()
    asked = await waiting(triggers, "rest")
    assert not triggers.hold()
    _, (waiter,) = await triggers.take()
    assert triggers.hold()
    waiter.set_result(VERDICTS)
    assert await asked == VERDICTS


async def test_a_trigger_of_the_last_moment_is_held_too() -> None:
    triggers = Triggers()
    taking = asyncio.ensure_future(triggers.take())
    await asyncio.sleep(0)
    triggers.add("poll")  # it is awake, and has not run
    assert triggers.hold()
    await asyncio.sleep(0)
    assert not taking.done()
    triggers.let_go()
    assert await taking == ("poll", [])
