"""Any course of events at all: with compiled code and without, all comes to the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gpu_worker.ipc.link import Status
from supervisor.settings import Settings
from tests.unit.supervisor.express.both_ways import MODES
from tests.unit.supervisor.express.course import KINDS, Course, Event
from tests.unit.supervisor.express.events import (
    CONTRACTS,
    Answer,
    Burst,
    Die,
    Expire,
    Forget,
    GoBack,
    Hold,
    Leave,
    Reload,
    Reread,
    Send,
    Switch,
)
from tests.unit.supervisor.express.ring_site import COMPILED, ring_site
from tests.unit.supervisor.http.loops import run

pytestmark = COMPILED
SMALL = st.integers(0, 5)
OFTEN: list[st.SearchStrategy[Event]] = [
    st.builds(Send, SMALL),
    st.builds(Answer, SMALL, st.integers(1, 6)),
    st.builds(Burst, st.integers(1, 4)),
]
SELDOM: list[st.SearchStrategy[Event]] = [
    st.builds(
        Send,
        SMALL,
        st.lists(st.sampled_from([*KINDS]), min_size=1, max_size=3).map(tuple),
        st.lists(st.integers(0, 1 << 16), max_size=2).map(tuple),
    ),
    st.builds(Answer, SMALL, SMALL, st.sampled_from([*Status]), st.just(b"why")),
    st.builds(Answer, SMALL, SMALL, st.just(Status.OK), st.sampled_from([b"", bytes(200)])),
    st.builds(Die, SMALL, st.integers(0, 3)),
    st.builds(Switch, st.sampled_from([*CONTRACTS]), st.integers(1, 2)),
    st.just(GoBack()),
    st.just(Forget()),
    st.just(Reread()),
    st.builds(Hold, st.booleans()),
    st.builds(Reload, st.booleans()),
    st.builds(Expire, SMALL),
    st.builds(Leave, SMALL),
]
EVENTS = st.lists(st.one_of(*OFTEN * 3, *SELDOM), min_size=10, max_size=40)


async def happened(
    mode: str, clients: int, events: Sequence[Event], most: int, limits: dict[str, int]
) -> tuple[dict[str, Any], int]:
    """Give what came of it, and how many requests compiled code took."""
    known = [event for number in range(clients) for event in (Send(number), Answer(0, 1))]
    settings = Settings(express=mode, max_requests_per_connection=most)
    async with ring_site(settings=settings, largest=1 << 17, **limits) as one:
        return await Course(one).run(clients, [Switch("same", 1), *known, *events]), one.express


def test_any_course_comes_to_the_same_with_compiled_code_and_without() -> None:
    taken = []

    @settings(max_examples=120)
    @given(
        clients=st.integers(1, 3),
        events=EVENTS,
        at_once=st.integers(1, 3),
        queue=st.integers(1, 4),
        most=st.sampled_from([0, 0, 6]),
    )
    @example(1, [Send(0), Expire(0), Answer(0, 1)], 1, 2, 0)
    @example(2, [Send(0), Send(1), Die(0, 1), Die(0, 1)], 1, 2, 0)
    @example(2, [Send(0), Switch("other", 1), Send(1)], 1, 2, 0)
    def compare(clients: int, events: list[Event], at_once: int, queue: int, most: int) -> None:
        limits = {"max_in_flight": at_once, "queue_limit": queue}
        found: list[dict[str, Any]] = []

        async def both() -> None:
            for mode in MODES:
                with capture_logs() as told:
                    outcome, express = await happened(mode, clients, events, most, limits)
                    told.clear()  # with errors, which hold on to rings
                found.append(outcome)
                taken.append(express)

        run(both())
        for what, its in found[0].items():
            assert its == found[1][what], what

    compare()
    assert sum(taken) > len(taken), "little that compiled code takes has happened"
