"""Log lines: one per event, whatever stands in their values."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from supervisor import logs


@pytest.fixture
def restored() -> Iterator[None]:
    before, root = structlog.get_config(), logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    structlog.configure(**before)
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("restored")
def test_json_lines_can_be_read_by_programs(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    structlog.get_logger().info("Loaded v7, cost=287ms", model="ocr", path=b"x")
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    expected = {"event": "Loaded v7, cost=287ms", "level": "info", "model": "ocr", "path": "b'x'"}
    assert line == expected


@pytest.mark.usefixtures("restored")
def test_text_lines_can_be_read_by_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "info")
    structlog.get_logger().warning("refused", model="ocr", reason='it is "empty"', kind="")
    _, rest = capsys.readouterr().err.split(" ", 1)
    assert rest == 'WARNING refused model=ocr reason="it is \\"empty\\"" kind=""\n'


@pytest.mark.usefixtures("restored")
def test_auto_is_json_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("auto", "info")
    structlog.get_logger().info("x")
    assert json.loads(capsys.readouterr().err)["event"] == "x"


@pytest.mark.usefixtures("restored")
def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "error")
    structlog.get_logger().warning("x")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("restored")
def test_an_exception_follows_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "info")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("a pass broke off")
    assert capsys.readouterr().err.rstrip().endswith("ValueError: broken")


@given(st.text())
def test_no_value_can_forge_a_line_or_steer_a_terminal(value: str) -> None:
    event = {"timestamp": "t", "level": "info", "event": "e", "key": value}
    line = logs._as_text(None, "", event)  # noqa: SLF001 - no terminal is needed for it
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert "\r" not in line
