"""Counters: adding up what processes counted is what one process would have counted."""

from __future__ import annotations

import json
from typing import NamedTuple, cast

from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.link import Completion, RingMarks, Status, outcome_of
from gpu_worker.ipc.slots import Slot
from supervisor.dispatch.model_statistics import ModelStatistics
from supervisor.dispatch.request import InferRequest
from supervisor.dispatch.statistics import VersionStatistics
from supervisor.fronts.statistics import ArenaUse, FrontStatistics
from tests.unit.supervisor.dispatch.bench import CONTRACT

_DAY_NS = 86_400_000_000_000


class Event(NamedTuple):
    """One request that ended, in one of three processes."""

    process: int
    model: str
    version: str  # "gone" for one that is not loaded any more
    queue_ns: int
    wait_ns: int
    infer_ns: int
    rows: int
    leads: bool
    reloading: bool
    status: int


durations = st.integers(0, 10_000_000_000)
events = st.lists(
    st.builds(
        Event, st.integers(0, 2), st.sampled_from("ab"), st.sampled_from(["v1", "v2", "gone"]),
        durations, durations, durations, st.sampled_from([1, 3, 8, 1000]), st.booleans(),
        st.booleans(), st.sampled_from([200, 400, 500, 503, 504]),
    ),
    max_size=30,
)  # fmt: skip


def count(front: FrontStatistics, event: Event) -> None:
    """Count as dispatcher and connection do."""
    model = front.models.setdefault(event.model, ModelStatistics())
    if event.status in (400, 503):
        model.errors[event.status] = model.errors.get(event.status, 0) + 1
        model.events["queue_full"] = model.events.get("queue_full", 0) + 1
        front.unknown_models += 1
        front.refusals.no_token += event.status == 400
        front.refusals.late_head += event.status == 503
        return
    if event.version == "gone":
        statistics = model.gone
    else:
        statistics = model.versions.setdefault(event.version, VersionStatistics())
    if event.status != 200:
        statistics.failed(event.infer_ns, event.status)
        model.errors[event.status] = model.errors.get(event.status, 0) + 1
        return
    started = _DAY_NS + event.queue_ns + event.wait_ns
    request = InferRequest(
        1, cast("Slot", None), 1, CONTRACT, 0, (), lambda _: None, False, 0, _DAY_NS,
        _DAY_NS + event.queue_ns,
    )  # fmt: skip
    outcome = outcome_of(Status.OK, event.rows, leads=event.leads)
    completion = Completion(
        1, 1, outcome, 0, 8, started, started + event.infer_ns, started + event.infer_ns + 5
    )
    statistics.succeeded(request, completion, _DAY_NS + event.reloading)
    statistics.answered += 1


def same(one: FrontStatistics, other: FrontStatistics) -> None:
    """Compare all but what hangs on the clock: the total, and when the last inference was."""

    def timeless(front: FrontStatistics) -> FrontStatistics:
        front = FrontStatistics.from_dict(front.to_dict())
        for model in front.models.values():
            for statistics in (model.gone, *model.versions.values()):
                statistics.last_inference_ms = 0
                for latency in (statistics.calm, statistics.reloading):
                    latency.total.counts = [latency.total.count]
                    latency.total.sum = 0
        return front

    assert timeless(one) == timeless(other)


@given(events)
def test_adding_is_counting_together(seen: list[Event]) -> None:
    fronts, together = [FrontStatistics() for _ in range(3)], FrontStatistics()
    for event in seen:
        count(fronts[event.process], event)
        count(together, event)
    total = FrontStatistics()
    for front in fronts:
        total.add(FrontStatistics.from_dict(json.loads(json.dumps(front.to_dict()))))
    same(total, together)


@given(events)
def test_what_was_written_and_read_is_the_same_and_shares_nothing(seen: list[Event]) -> None:
    front = FrontStatistics(
        arena=ArenaUse(1, 2, 3, 4), rings=RingMarks(1, 2, 256, 3, 4), connections=5
    )
    for event in seen:
        count(front, event)
    written = front.to_dict()
    text = json.dumps(written)
    assert FrontStatistics.from_dict(json.loads(text)) == front
    count(front, Event(0, "a", "v1", 1, 1, 1, 1, True, False, 200))
    assert json.dumps(written) == text


def test_arenas_add_up_and_of_rings_the_fullest_counts() -> None:
    total = FrontStatistics(arena=ArenaUse(100, 10, 1, 50), rings=RingMarks(3, 9, 256, 7, 1000))
    total.add(FrontStatistics(arena=ArenaUse(100, 20, 2, 60), rings=RingMarks(5, 2, 256, 8, 1000)))
    assert total.arena == ArenaUse(200, 30, 3, 110)
    assert total.rings == RingMarks(5, 9, 256, 8, 1000)


@given(events)
def test_the_total_holds_versions_that_are_gone(seen: list[Event]) -> None:
    front = FrontStatistics()
    for event in seen:
        count(front, event)
    for name, model in front.models.items():
        ran = [event for event in seen if event.model == name and event.status in (200, 500, 504)]
        good = [event for event in ran if event.status == 200]
        total = model.total()
        assert total.answered == total.success_count == len(good)
        assert total.fail_count == len(ran) - len(good)
        assert total.codes() == {200: len(good), **total.failures}
        assert total.batch_rows().sum == sum(event.rows for event in good if event.leads)
        assert total.reloading.queue.count == sum(event.reloading for event in good)
        assert total.latency().inference.sum == sum(event.infer_ns for event in good)
