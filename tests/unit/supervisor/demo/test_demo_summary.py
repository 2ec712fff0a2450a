"""The final figures, and when they count as a success."""

import json

import pytest

from supervisor.demo.publisher import Breakage, Release
from supervisor.demo.summary import Summary
from supervisor.demo.tally import Phase, Tally
from supervisor.demo.verdict import Outcome, Verdict

GOOD = Release("v2")
BROKEN = Release("v3", Breakage.PARAMS_NAN)


def verdict(release: Release, outcome: Outcome, reason: str = "") -> Verdict:
    return Verdict(release, outcome, 100.0, reason, "v2")


def answer(tally: Tally, version: str, *, read: str = "text", ms: float = 10.0) -> None:
    phase = Phase.WITHOUT_RELOADS if version == "v1" else Phase.WITH_RELOADS
    tally.count_answer(phase=phase, version=version, latency_ms=ms, drawn="text", read=read)


@pytest.fixture
def tally() -> Tally:
    tally = Tally()
    answer(tally, "v1", ms=40.0)
    answer(tally, "v1", ms=10.0)
    answer(tally, "v2", ms=20.0)
    return tally


VERDICTS = [verdict(GOOD, Outcome.LIVE), verdict(BROKEN, Outcome.REFUSED, "NaN")]


def test_all_well(tally: Tally) -> None:
    summary = Summary.of(tally, VERDICTS)
    assert summary.ok
    assert summary.problems == ()
    assert (summary.requests, summary.failures, summary.texts_right) == (3, 0, 3)
    assert summary.served == summary.good == ("v1", "v2")
    assert summary.refused == summary.broken == ("v3",)


def test_latency_is_kept_apart_by_phase(tally: Tally) -> None:
    summary = Summary.of(tally, VERDICTS)
    assert (summary.without_reloads.p50_ms, summary.without_reloads.p99_ms) == (10.0, 40.0)
    assert (summary.with_reloads.p50_ms, summary.with_reloads.p99_ms) == (20.0, 20.0)


def test_slowest_first_answer_leaves_out_the_first_version(tally: Tally) -> None:
    assert Summary.of(tally, VERDICTS).slowest_first_answer == ("v2", 20.0)


def test_a_failed_request_is_a_problem(tally: Tally) -> None:
    tally.count_failure("status 503: queue is full")
    summary = Summary.of(tally, VERDICTS)
    assert summary.problems == ("1 failed: status 503: queue is full",)


def test_a_misread_text_is_a_problem(tally: Tally) -> None:
    answer(tally, "v2", read="test")
    assert Summary.of(tally, VERDICTS).problems == ("1 misread: 'test' instead of 'text'",)


def test_a_generation_that_goes_back_is_a_problem(tally: Tally) -> None:
    tally.order.answered(highest_when_sent=2, generation=1)
    summary = Summary.of(tally, VERDICTS)
    assert summary.generation_violations == 1
    assert not summary.ok


def test_a_good_version_that_is_refused_is_a_problem(tally: Tally) -> None:
    verdicts = [*VERDICTS, verdict(Release("v4"), Outcome.REFUSED, "out of memory")]
    assert Summary.of(tally, verdicts).problems == ("v4 is good but refused: out of memory",)


def test_a_good_version_that_answers_nothing_is_a_problem(tally: Tally) -> None:
    verdicts = [*VERDICTS, verdict(Release("v4"), Outcome.LIVE)]
    assert Summary.of(tally, verdicts).problems == ("v4 is live but answered nothing",)


@pytest.mark.parametrize("outcome", [Outcome.LIVE, Outcome.UNDECIDED])
def test_a_broken_version_that_is_not_refused_is_a_problem(tally: Tally, outcome: Outcome) -> None:
    summary = Summary.of(tally, [VERDICTS[0], verdict(BROKEN, outcome)])
    assert summary.problems == ("v3 is broken but not refused",)
    assert summary.refused == ()


def test_a_broken_version_that_answered_is_a_problem(tally: Tally) -> None:
    answer(tally, "v3")
    summary = Summary.of(tally, VERDICTS)
    assert summary.problems == ("v3 is broken but served",)
    assert summary.refused == ()


def test_nothing_measured_is_no_success() -> None:
    summary = Summary.of(Tally(), [])
    assert not summary.ok
    assert summary.without_reloads.p50_ms is None
    assert summary.slowest_first_answer is None
    assert any(line.endswith(" -") for line in summary.lines())


def test_object_for_programs_is_json(tally: Tally) -> None:
    content = json.loads(json.dumps(Summary.of(tally, VERDICTS).as_dict()))
    assert content["ok"] is True
    assert content["requests"] == 3
    assert content["latency_ms"]["without_reloads"] == {"p50": 10.0, "p99": 40.0}
    assert content["slowest_first_answer"] == {"version": "v2", "ms": 20.0}


def test_table_for_people(tally: Tally) -> None:
    table = "\n".join(Summary.of(tally, VERDICTS).lines())
    assert "texts read right           3 of 3" in table
    assert "versions served            2 of 2: v1 v2" in table
    assert "p50 / p99 without reloads  10.0 / 40.0 ms" in table
    assert "slowest first answer       20.0 ms (v2)" in table
