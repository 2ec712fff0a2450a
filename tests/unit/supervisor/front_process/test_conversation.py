"""The conversation: all is done in order, but for what cannot wait; nothing said is lost."""

from __future__ import annotations

import asyncio
import os

import pytest

from gpu_worker.ipc.link import Completion, Status, Submission, close_fds
from gpu_worker.ipc.vocabulary import ProtocolError
from supervisor.fronts import messages
from tests.unit.supervisor.dispatch.bench import EMPTY_TABLE, Reply, step
from tests.unit.supervisor.front_process.talk import Talk, lane, model, talk
from tests.unit.supervisor.http.loops import on_both_loops, until


def ask(one: Talk, replies: list[Reply], *, by_version: bool = False) -> None:
    """Start a request of the version that serves."""
    dispatcher = one.mirror.dispatcher("m")
    slot = one.arena.slots.take(100)
    assert dispatcher is not None
    assert slot is not None
    dispatcher.submit(
        dispatcher.lane(None), slot, 100, 1, ((1, 4),), replies.append, by_version=by_version
    )


async def served(one: Talk) -> None:
    """Have `v1` serve, with worker 7."""
    await one.link(7)
    one.say(lane(1, 7), model(1, 1))
    await one.done(1)


async def submission(one: Talk) -> Submission:
    """Take what the worker that was linked last has been sent."""
    found: list[Submission] = []

    def take() -> bool:
        found.extend(one.workers[-1].submissions())
        return bool(found)

    await until(take)
    return found[0]


def answer(one: Talk, asked: Submission) -> None:
    """Answer as a worker does."""
    end = one.workers[-1]
    place = end.responses.reserve(len(EMPTY_TABLE))
    assert place is not None
    position, memory = place
    memory[:] = EMPTY_TABLE
    end.responses.commit(position, len(EMPTY_TABLE))
    length = len(EMPTY_TABLE)
    done = Completion(asked.request_id, asked.slot_reuse, Status.OK, position, length, 1, 2, 3)
    end.complete([done])


# Order


@on_both_loops
async def test_all_is_done_in_the_order_in_which_it_is_said() -> None:
    async with talk() as one:
        one.say(
            messages.Report(1), messages.WorkerUp(7, 1, "cpu"), lane(1, 7), model(2, 1),
            messages.Report(3), messages.WorkerGone(7), messages.Report(4), messages.Serve(),
        )  # fmt: skip
        assert (await one.heard(messages.FrontCounted))[0].workers == {}
        await one.done(1)
        link, fds = await one.heard(messages.Link)
        assert (link, len(fds)) == (messages.Link(7), 4)
        close_fds(fds)
        await one.done(2)
        tallied, _ = await one.heard(messages.ModelCounted)
        assert (tallied.model, set(tallied.statistics["versions"])) == ("m", {"v1"})
        assert (await one.heard(messages.FrontCounted))[0].workers == {"7": [0, 0, 0]}
        await one.done(3)
        await one.heard(messages.ModelCounted)
        assert (await one.heard(messages.FrontCounted))[0].workers == {}
        await one.done(4)
        await until(lambda: one.served)


@on_both_loops
async def test_a_request_goes_over_the_link_that_was_handed_over_and_comes_back() -> None:
    async with talk() as one:
        await served(one)
        replies: list[Reply] = []
        ask(one, replies)
        asked = await submission(one)
        assert asked.load_id == 70
        answer(one, asked)
        await until(lambda: replies)
        assert one.arena.slots.lent_slots == 0
        one.say(messages.Report(2))
        tallied, _ = await one.heard(messages.ModelCounted)
        assert tallied.statistics["versions"]["v1"]["success_count"] == 1
        assert (await one.heard(messages.FrontCounted))[0].workers == {"7": [0, 1, 0]}


async def test_a_drain_lets_what_is_said_later_pass() -> None:
    async with talk() as one:
        await served(one)
        replies: list[Reply] = []
        ask(one, replies)
        asked = await submission(one)
        one.say(lane(2), lane(1, 7), model(2, 2, 1), messages.Drain(3, 1), model(4, 2, 1))
        await one.done(2)
        await one.done(4)
        answer(one, asked)
        await one.done(3)
        assert len(replies) == 1


async def test_what_a_worker_held_that_has_gone_waits_for_the_next() -> None:
    async with talk() as one:
        await served(one)
        replies: list[Reply] = []
        ask(one, replies)
        await submission(one)
        one.say(messages.WorkerGone(7))
        await one.link(8)
        one.say(lane(1, 8))
        asked = await submission(one)
        answer(one, asked)
        await until(lambda: replies)


async def test_counts_are_told_again_and_again_once_it_serves() -> None:
    async with talk() as one:
        one.say(messages.Serve())
        for _ in range(2):
            await one.heard(messages.FrontCounted)


# Out of turn


async def test_space_is_freed_while_something_else_takes_its_time() -> None:
    async with talk() as one:
        await served(one)
        replies: list[Reply] = []
        ask(one, replies)
        answer(one, await submission(one))
        await one.obey_no_more()
        one.say(model(2, 1), messages.NeedSpace(7))
        assert await one.heard(messages.SpaceFreed) == (messages.SpaceFreed(7), [])
        assert len(replies) == 1, "the answer that filled the ring was taken"


async def test_no_space_is_freed_of_a_worker_that_is_not_linked() -> None:
    async with talk() as one:
        one.say(messages.NeedSpace(9), messages.Report(1))
        await one.heard(messages.FrontCounted)
        await one.done(1)


async def test_the_order_to_stop_overtakes_and_the_second_one_hurries() -> None:
    async with talk() as one:
        await one.obey_no_more()
        last_answers: list[bool] = []
        one.front.on_closing = lambda: last_answers.append(one.front.stop_asked.is_set())
        one.say(messages.Report(1), messages.Stop(2.5))
        async with asyncio.timeout(10):
            await one.front.stop_asked.wait()
        assert last_answers == [False], "before anything else that a stop does"
        assert (one.front.stop_timeout_s, one.front.hurry.is_set()) == (2.5, False)
        one.say(messages.Stop(0.0))
        async with asyncio.timeout(10):
            await one.front.hurry.wait()
        assert one.front.stop_timeout_s == 0.0


async def test_a_worker_that_gives_no_answer_is_told_of() -> None:
    async with talk(hang_timeout_s=0.0) as one:
        await served(one)
        ask(one, [])
        assert await one.heard(messages.Hung) == (messages.Hung(7), [])


async def test_a_worker_that_breaks_its_rings_is_told_of_at_once() -> None:
    async with talk() as one:
        await served(one)
        ask(one, [])
        await submission(one)
        os.eventfd_write(one.ports._ports[7]._link.completion_bell.fd, 1000)  # noqa: SLF001 - more than a ring holds
        assert await one.heard(messages.Hung) == (messages.Hung(7), [])


# The end


@on_both_loops
async def test_the_supervisors_end_is_noticed_by_hearing() -> None:
    async with talk() as one:
        one.supervisor.close()
        async with asyncio.timeout(10):
            await one.front.over.wait()


async def test_the_supervisors_end_is_noticed_by_speaking() -> None:
    async with talk() as one:
        one.supervisor.close()
        one.front.say(messages.Listening())
        assert one.front.over.is_set()
        one.front.say(messages.Listening())  # nobody minds


@pytest.mark.parametrize("garbage", [b"{}", b'{"type":"Unload"}', b'{"type":"Serve","x":1}'])
async def test_a_supervisor_of_another_version_is_no_supervisor(garbage: bytes) -> None:
    async with talk() as one:
        one.supervisor.sock.send(garbage)
        one.say(messages.Serve())
        async with asyncio.timeout(10):
            await one.front.over.wait()
        await step()
        assert one.served == 0, "what came behind it is not obeyed"


async def test_what_only_fronts_say_is_not_obeyed() -> None:
    async with talk() as one:
        one.say(messages.Listening())
        with pytest.raises(ProtocolError, match="a front does not take Listening"):
            await one.obeying
