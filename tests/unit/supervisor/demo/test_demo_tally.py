"""Percentiles, the order of generations, and the counts."""

import pytest

from supervisor.demo.tally import GenerationOrder, Phase, Tally, percentile


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 101)], 100, 100.0),
        ([float(n) for n in range(1, 201)], 99, 198.0),
        ([1.0, 2.0], 0.1, 1.0),
    ],
)
def test_percentile(values: list[float], percent: float, expected: float | None) -> None:
    assert percentile(values, percent) == expected


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_percentile_refuses_what_is_none(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile([1.0], percent)


def test_rising_generations_are_in_order() -> None:
    order = GenerationOrder()
    for generation in (1, 1, 2, 5):
        assert order.answered(highest_when_sent=order.highest, generation=generation)
    assert order.highest == 5
    assert order.violations == 0


def test_requests_under_way_together_may_be_overtaken() -> None:
    order = GenerationOrder()
    order.answered(highest_when_sent=0, generation=1)
    slow, fast = order.highest, order.highest
    assert order.answered(highest_when_sent=fast, generation=2)
    assert order.answered(highest_when_sent=slow, generation=1)
    assert order.violations == 0


def test_older_generation_after_a_newer_answer_is_a_violation() -> None:
    order = GenerationOrder()
    order.answered(highest_when_sent=0, generation=2)
    sent_after = order.highest
    assert not order.answered(highest_when_sent=sent_after, generation=1)
    assert order.violations == 1


def test_an_old_answer_does_not_lower_what_was_seen() -> None:
    order = GenerationOrder()
    order.answered(highest_when_sent=0, generation=2)
    order.answered(highest_when_sent=0, generation=1)
    assert order.highest == 2


def count(tally: Tally, version: str, latency_ms: float, read: str = "text") -> None:
    tally.count_answer(
        phase=Phase.WITH_RELOADS, version=version, latency_ms=latency_ms, drawn="text", read=read
    )


def test_first_answer_of_a_version_is_kept() -> None:
    tally = Tally()
    count(tally, "v1", 5.0)
    count(tally, "v2", 9.0)
    count(tally, "v2", 1.0)
    assert tally.first_answers_ms == {"v1": 5.0, "v2": 9.0}
    assert tally.latencies_ms[Phase.WITH_RELOADS] == [5.0, 9.0, 1.0]
    assert tally.latencies_ms[Phase.WITHOUT_RELOADS] == []


def test_every_request_counts_once() -> None:
    tally = Tally()
    count(tally, "v1", 5.0)
    count(tally, "v1", 5.0, read="test")
    tally.count_failure("status 503")
    tally.count_failure("status 503")
    assert (tally.requests, tally.right, tally.failed) == (4, 1, 2)
    assert tally.misread == {("text", "test"): 1}
    assert tally.failures == {"status 503": 2}
