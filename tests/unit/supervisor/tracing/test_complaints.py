"""A library that logs over and over gives a line now and then."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from supervisor.tracing.complaints import Complaints

NAME = "tests.talkative"


@pytest.fixture
def library() -> Iterator[logging.Logger]:
    logger = logging.getLogger(NAME)
    yield logging.getLogger(f"{NAME}.exporter")
    logger.handlers.clear()
    logger.propagate = True


def test_a_line_a_minute(library: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    complaints = Complaints("http://c/v1/traces", lambda: now[0])
    complaints.take_over(NAME)
    complaints.take_over(NAME)
    with capture_logs() as logged:
        library.warning("no answer from %s", "c")
        for _ in range(100):
            library.error("again")
        now[0] += 59
        library.error("again")
        now[0] += 2
        library.error("still")
        library.info("nobody asked")
    assert [(line["reason"], line["not_shown"]) for line in logged] == [
        ("no answer from c", 0), ("still", 101),
    ]  # fmt: skip
    assert {line["endpoint"] for line in logged} == {"http://c/v1/traces"}
    assert caplog.records == []


def test_an_exception_is_part_of_the_reason(library: logging.Logger) -> None:
    Complaints("http://c/v1/traces").take_over(NAME)
    with capture_logs() as logged:
        try:
            raise OSError("no route")
        except OSError:
            library.exception("While exporting.")
    assert [line["reason"] for line in logged] == ["While exporting. OSError('no route')"]
