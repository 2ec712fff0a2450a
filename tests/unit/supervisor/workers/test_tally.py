"""A worker's tally adds up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor.workers.tally import WorkerTally

COUNT = st.integers(0, 1 << 40)
WORKER = st.builds(WorkerTally, COUNT, COUNT, COUNT)


@given(st.lists(WORKER, max_size=4))
def test_a_workers_tallies_add_up(tallies: list[WorkerTally]) -> None:
    total = WorkerTally()
    for tally in tallies:
        total.add(tally)
    assert total == WorkerTally(
        sum(tally.in_flight for tally in tallies),
        sum(tally.answered for tally in tallies),
        sum(tally.stale for tally in tallies),
    )
