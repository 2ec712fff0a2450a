"""The server's verdicts, the times of publishing, and the settings."""

import pytest

from supervisor.demo.client import ModelView
from supervisor.demo.course import next_slot
from supervisor.demo.options import DemoOptions
from supervisor.demo.publisher import Breakage, Release
from supervisor.demo.verdict import Outcome, Verdict, judge


@pytest.mark.parametrize(
    ("view", "outcome"),
    [
        (ModelView("v1", None, ""), Outcome.UNDECIDED),
        (ModelView("v1", "v0", "old"), Outcome.UNDECIDED),
        (ModelView(None, None, ""), Outcome.UNDECIDED),
        (ModelView("v2", "v1", "old"), Outcome.LIVE),
        (ModelView("v1", "v2", "new"), Outcome.REFUSED),
    ],
)
def test_verdict_is_read_from_the_view(view: ModelView, outcome: Outcome) -> None:
    assert judge(view, "v2") is outcome


@pytest.mark.parametrize(
    ("breakage", "outcome", "expected"),
    [
        (None, Outcome.LIVE, True),
        (None, Outcome.REFUSED, False),
        (None, Outcome.UNDECIDED, False),
        (Breakage.PARAMS_NAN, Outcome.LIVE, False),
        (Breakage.PARAMS_NAN, Outcome.REFUSED, True),
        (Breakage.PARAMS_NAN, Outcome.UNDECIDED, False),
    ],
)
def test_good_goes_live_and_broken_is_refused(
    breakage: Breakage | None, outcome: Outcome, *, expected: bool
) -> None:
    verdict = Verdict(Release("v2", breakage), outcome, 1.0, "", "v1")
    assert verdict.as_it_should is expected


@pytest.mark.parametrize(
    ("elapsed_s", "expected"),
    [(2.3, 4.0), (3.99, 4.0), (4.0, 4.0), (4.1, 6.0), (9.5, 10.0)],
)
def test_publishing_keeps_to_its_slots(elapsed_s: float, expected: float) -> None:
    assert next_slot(2.0, every_s=2.0, elapsed_s=elapsed_s) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"publish_every_s": 0.0},
        {"seconds_with_reloads": -1.0},
        {"seconds_without_reloads": 0.0},
        {"concurrency": 0},
        {"port": 70000},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        DemoOptions(**settings)  # type: ignore[arg-type]
