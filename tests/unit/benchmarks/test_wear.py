"""A server that has loaded many versions beside a fresh one."""

from __future__ import annotations

from typing import cast

import pytest

from benchmarks.deployment import Deployment
from benchmarks.wear import Wear, WearTurn, measure_wear, wear_table


def turn(rate: float, **errors: int) -> WearTurn:
    return WearTurn(rate, 1000 / rate, 2000 / rate, 500 / rate, errors)


WORN = Wear([turn(90), turn(45), turn(190)], [turn(100), turn(50), turn(200)])


def test_quotients_are_of_one_round_so_that_what_drifts_is_left_out() -> None:
    assert WORN.times("requests_s") == pytest.approx(0.9)
    assert WORN.times("p99_ms") == pytest.approx(1 / 0.9)


def test_errors_of_both_count() -> None:
    wear = Wear([turn(1, wrong=2), turn(1)], [turn(1, wrong=1, late=4), turn(1)])
    assert wear.errors == {"wrong": 3, "late": 4}
    assert WORN.errors == {}


def test_the_table_has_a_line_per_figure() -> None:
    lines = [line.split() for line in wear_table(WORN).splitlines()]
    assert lines[1] == ["requests/s", "90.00", "100.00", "0.900"]
    assert lines[3] == ["p99", "ms", "22.22", "20.00", "1.111"]
    assert lines[4][-1] == "1.111"


def test_each_begins_every_other_round() -> None:
    worn, fresh = (cast("Deployment", name) for name in ("worn", "fresh"))
    order: list[Deployment] = []

    def take(deployment: Deployment) -> WearTurn:
        order.append(deployment)
        return turn(len(order))

    wear = measure_wear(worn, fresh, take, 3)

    assert order == [worn, fresh, fresh, worn, worn, fresh]
    assert [one.requests_s for one in wear.worn] == [1, 4, 5]
    assert [one.requests_s for one in wear.fresh] == [2, 3, 6]
