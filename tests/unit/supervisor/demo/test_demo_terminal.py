"""What is printed, for people and for programs."""

import json
from pathlib import Path

import pytest

from supervisor.demo.errors import DemoError
from supervisor.demo.publisher import Breakage, Release
from supervisor.demo.summary import Summary
from supervisor.demo.tally import Tally
from supervisor.demo.terminal import Terminal
from supervisor.demo.verdict import Outcome, Verdict

GOOD = Verdict(Release("v4"), Outcome.LIVE, 312.4, "", "v4")
BROKEN = Verdict(
    Release("v5", Breakage.PARAMS_TRUNCATED), Outcome.REFUSED, 80.0, "too\nshort", "v4"
)


def test_a_live_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(as_json=False).verdict(6.0, GOOD, 13.14)
    expected = "   6.0 s  v4   good     live after 312 ms, first answer 13.1 ms\n"
    assert capsys.readouterr().out == expected


def test_a_refused_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(as_json=False).verdict(8.0, BROKEN, None)
    assert capsys.readouterr().out == (
        "   8.0 s  v5   broken   refused after 80 ms: params truncated (too short); v4 serves on\n"
    )


def test_colours_are_for_terminals_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Terminal(as_json=False).verdict(6.0, GOOD, 13.1)
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Terminal(as_json=False).verdict(6.0, GOOD, 13.1)
    assert "\x1b[32m" in capsys.readouterr().out


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(as_json=True)
    terminal.heading("heading")
    terminal.note("note")
    terminal.verdict(6.0, GOOD, 13.1)
    terminal.result(Summary.of(Tally(), []), log=Path("server.log"))
    content = json.loads(capsys.readouterr().out)
    assert content["ok"] is False
    assert content["server_log"] == "server.log"


def test_an_early_end_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(as_json=True).error(DemoError("no such file"))
    assert json.loads(capsys.readouterr().out) == {"ok": False, "error": "no such file"}


def test_problems_and_the_log_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(as_json=False).result(Summary.of(Tally(), []), log=Path("server.log"))
    printed = capsys.readouterr().out
    assert "no version was published" in printed
    assert "The server's log: server.log" in printed
