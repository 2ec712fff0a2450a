"""Records of answers: their file, cuts, first answers and the series that is plotted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.records import (
    RECORD,
    Records,
    RecordWriter,
    between,
    first_answers,
    good,
    read_records,
)
from benchmarks.series import latency_series


def records(*rows: tuple[float, float, int, int]) -> Records:
    return np.array(list(rows), RECORD)


def test_what_is_written_is_read_while_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "records.bin"
    writer = RecordWriter(path)
    writer.add(1.5, 2.0, 0, 200)
    writer.add(1.75, 4.0, 1, 503)
    assert len(read_records(path)) == 0
    writer.flush()
    writer.flush()
    writer.add(2.0, 1.0, 1, 200)
    writer.close()

    assert read_records(path).tolist() == [
        (1.5, 2.0, 0, 200), (1.75, 4.0, 1, 503), (2.0, 1.0, 1, 200),
    ]  # fmt: skip
    assert read_records(path, 2).tolist() == [(2.0, 1.0, 1, 200)]


def test_a_record_that_is_half_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "records.bin"
    path.write_bytes(records((1, 1, 0, 200)).tobytes() + b"\0" * 5)

    assert len(read_records(path)) == 1


def test_cuts() -> None:
    all_of_them = records((1, 1, 0, 200), (2, 1, 0, 0), (3, 1, 0, 200))

    assert between(all_of_them, 1, 3)["at"].tolist() == [1, 2]
    assert good(all_of_them)["at"].tolist() == [1, 3]


def test_first_answers_in_the_order_of_versions_and_without_errors() -> None:
    found = first_answers(
        records((1, 5, 1, 200), (2, 9, 0, 503), (3, 7, 0, 200), (4, 1, 1, 200)), ["v2", "v1"]
    )

    assert [(first.version, first.at, first.ms) for first in found] == [
        ("v1", 1, 5), ("v2", 3, 7),
    ]  # fmt: skip


def test_the_series_has_a_bucket_per_time_with_answers() -> None:
    series = latency_series(
        records((9, 1, 0, 200), (10.1, 1, 0, 200), (10.9, 3, 0, 200), (12.5, 7, 0, 200)), 10, 1.0
    )

    assert series.at_s == [0.5, 2.5]
    assert series.p50_ms == [2, 7]
    assert series.max_ms == [3, 7]
    assert series.answers == [2, 1]


def test_the_series_of_nothing_is_empty() -> None:
    assert latency_series(records(), 0).at_s == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_series_does_not_need_order(order: tuple[int, ...]) -> None:
    rows = [(0.1, 1, 0, 200), (0.3, 2, 0, 200), (0.6, 3, 0, 200)]

    assert latency_series(records(*(rows[i] for i in order)), 0, 0.25).max_ms == [1, 2, 3]
