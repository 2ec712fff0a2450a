"""The mirror: a front has the lanes that it was told of, and those alone."""

from __future__ import annotations

import asyncio
import json

import pytest

from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.errors import NotFound, NotReady
from supervisor.fronts import messages
from tests.unit.supervisor.front_process.mirrored import Mirrored, state_of


def serving(*workers: int, **limits: int) -> Mirrored:
    """Give a front in which `v1` serves, in generation 1, with all workers."""
    front = Mirrored(*workers, **limits)
    front.tell_lane(1, *workers, generation=1)
    front.tell_model(1, generation=1)
    return front


def known(front: Mirrored) -> set[str]:
    """Name the versions that the mirror keeps."""
    return {lane.version for lane in front.mirror._lanes.values()}  # noqa: SLF001 - shows nowhere


# What is told


async def test_a_model_that_never_served_has_no_dispatcher() -> None:
    front = Mirrored(7)
    assert front.mirror.dispatcher("m") is None
    front.tell_lane(1, 7)
    assert front.mirror.dispatcher("m") is None
    assert front.mirror.counted() == []


async def test_a_fresh_front_is_told_of_both_versions() -> None:
    front = Mirrored(7, 8)
    front.tell_lane(2, 8, generation=5)
    front.tell_lane(1, 7, generation=4)
    front.tell_model(2, 1, generation=5)
    assert state_of(front) == ("v2", 5, "v1")
    lanes = front.dispatcher.generations.lanes()
    assert [(lane.version, lane.generation) for lane in lanes] == [("v2", 5), ("v1", 4)]
    assert [[port.load_id for port in lane.workers] for lane in lanes] == [[80], [70]]
    assert [lane.settings.max_in_flight for lane in lanes] == [2, 2]


async def test_a_fresh_front_is_told_of_a_model_out_of_service() -> None:
    front = Mirrored()
    front.tell_model(0, generation=3)
    assert state_of(front) == (None, 3, None)
    with pytest.raises(NotReady, match="it was unloaded by request"):
        front.dispatcher.lane(None)


async def test_a_switch_sends_what_comes_to_the_new_version() -> None:
    front = serving(7, max_in_flight=1)
    (running,) = await front.asked()
    port = front.add_port(8)
    front.tell_lane(2, 8, generation=2)
    assert state_of(front) == ("v1", 1, None)
    front.tell_lane(1, 7, generation=1)
    front.tell_model(2, 1, generation=2)
    assert state_of(front) == ("v2", 2, "v1")
    (later,) = await front.asked()
    front.complete(front.ports[7])
    front.complete(port)
    results = await asyncio.gather(running, later)
    assert [(one.lane.version, one.lane.generation) for one in results] == [("v1", 1), ("v2", 2)]


async def test_a_rollback_serves_the_same_lane_again() -> None:
    front = serving(7, 8)
    first = front.dispatcher.serving
    front.tell_lane(2, generation=2)
    front.tell_model(2, 1, generation=2)
    front.tell_lane(1, 7, 8, generation=3)
    front.tell_lane(2, generation=2)
    front.tell_model(1, 2, generation=3)
    assert state_of(front) == ("v1", 3, "v2")
    assert front.dispatcher.serving is first
    assert first is not None
    assert (first.generation, len(first.workers)) == (3, 2), "no worker twice"


async def test_a_stop_answers_what_waits_and_forgets_both_versions() -> None:
    front = serving()
    front.tell_lane(2, generation=2)
    front.tell_model(2, 1, generation=2)
    (waiting,) = await front.asked()
    front.tell_model(0, generation=2)
    assert state_of(front) == (None, 2, None)
    with pytest.raises(NotReady, match="'m': it was unloaded by request"):
        await waiting
    assert (known(front), front.lent) == (set(), 0)


async def test_a_model_serves_again_after_a_stop() -> None:
    front = serving(7)
    front.tell_model(0, generation=1)
    front.tell_lane(2, 7, generation=2)
    front.tell_model(2, generation=2)
    assert state_of(front) == ("v2", 2, None)
    (answer,) = await front.asked()
    front.complete(front.ports[7])
    assert (await answer).lane.version == "v2"


async def test_a_retained_version_that_is_forgotten_is_no_longer_found() -> None:
    front = serving()
    front.tell_lane(2, generation=2)
    front.tell_model(2, 1, generation=2)
    (mine,) = await front.asked(1, front.dispatcher.lane("v1"))
    front.tell_model(2, generation=2)
    with pytest.raises(NotFound, match="no longer loaded"):
        await mine
    with pytest.raises(NotFound):
        front.dispatcher.lane("v1")
    assert (state_of(front), known(front)) == (("v2", 2, None), {"v2"})


async def test_another_version_is_retained_after_each_switch() -> None:
    front = serving()
    for number in (2, 3, 4):
        front.tell_lane(number, generation=number)
        front.tell_lane(number - 1, generation=number - 1)
        front.tell_model(number, number - 1, generation=number)
        assert state_of(front) == (f"v{number}", number, f"v{number - 1}")
        assert known(front) == {f"v{number}", f"v{number - 1}"}


async def test_a_closing_version_is_not_found_and_may_be_opened_again() -> None:
    front = serving()
    front.tell_lane(2, generation=2)
    front.tell_model(2, 1, generation=2)
    front.tell_lane(1, generation=1, closing=True)
    with pytest.raises(NotFound):
        front.dispatcher.lane("v1")
    front.tell_lane(1, generation=1)
    assert front.dispatcher.lane("v1").version == "v1"


async def test_workers_that_have_ended_are_left_out() -> None:
    front = Mirrored(7)
    front.tell_lane(1, 6, 7, 8, generation=1)
    front.tell_model(1, generation=1)
    lane = front.dispatcher.lane(None)
    assert [worker.number for worker in lane.workers] == [7]
    front.end(7)
    assert (lane.workers, front.dispatcher.ready) == ([], False)
    front.tell_lane(1, 7, generation=1)
    assert lane.workers == []


async def test_a_worker_that_a_repair_adds_takes_what_waits() -> None:
    front = serving(7)
    front.end(7)
    (waiting,) = await front.asked()
    port = front.add_port(9)
    front.tell_lane(1, 9, generation=1)
    assert (port.marks, port.load_id) == ([1], 90)
    front.complete(port)
    assert (await waiting).lane.version == "v1"


async def test_a_worker_of_a_version_that_has_gone_serves_another() -> None:
    front = serving(7)
    front.tell_model(0, generation=1)
    front.tell_lane(2, 7, generation=2)
    front.tell_model(2, generation=2)
    assert front.ports[7].lane is front.dispatcher.serving
    (answer,) = await front.asked()
    front.end(7)
    front.add_port(8)
    front.tell_lane(2, 8, generation=2)
    front.complete(front.ports[8])
    assert (await answer).lane.version == "v2"


async def test_what_is_held_waits_and_goes_where_the_switch_says() -> None:
    front = serving(7, 8)
    front.tell_model(1, generation=1, held=True)
    (waiting,) = await front.asked()
    assert front.ports[7].marks == front.ports[8].marks == []
    port = front.add_port(9)
    front.tell_lane(2, 9, generation=2)
    front.tell_model(2, 1, generation=2, held=True)
    assert (port.marks, front.dispatcher.queued, state_of(front)) == ([], 1, ("v2", 2, "v1"))
    front.tell_model(2, 1, generation=2)
    assert port.marks == [1]
    front.complete(port)
    assert (await waiting).lane.generation == 2


async def test_a_hold_without_a_switch_changes_nothing() -> None:
    front = serving(7)
    front.tell_model(1, generation=1, held=True)
    (waiting,) = await front.asked()
    front.tell_model(1, generation=1)
    front.complete(front.ports[7])
    assert ((await waiting).lane.version, state_of(front)) == ("v1", ("v1", 1, None))


async def test_models_do_not_meddle_with_each_other() -> None:
    front = serving(7)
    front.hear(messages.ModelState(0, "n", True, 4, "it is loading", 0, 0))
    assert (state_of(front), front.dispatcher.held) == (("v1", 1, None), False)
    other = front.mirror.dispatcher("n")
    assert other is not None
    assert (other.generations.number, other.held, other.serving) == (4, True, None)
    assert [tallied.model for tallied in front.mirror.counted()] == ["m", "n"]


async def test_what_a_front_has_done_is_counted_under_the_supervisors_numbers() -> None:
    front = serving(7)
    answers = await front.asked(2)
    front.complete(front.ports[7])
    (tallied,) = front.mirror.counted()
    counted = ModelStatistics.from_dict(json.loads(json.dumps(tallied.statistics)))
    assert (counted.queued, tallied.shapes) == (0, [[[1, 4]]])
    assert {name: one.success_count for name, one in counted.versions.items()} == {"v1": 1}
    front.complete(front.ports[7])
    await asyncio.gather(*answers)
