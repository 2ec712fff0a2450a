"""What the demo prints.

Owns the progress lines, the final table and the colours, which appear on a terminal only.
With JSON asked for, progress is silent and one object is printed at the end.
Runs in the process of `hotpaddle demo`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Final

from supervisor.demo.errors import DemoError
from supervisor.demo.summary import Summary
from supervisor.demo.verdict import Outcome, Verdict

_GREEN: Final = "32"
_YELLOW: Final = "33"
_RED: Final = "31"
_BOLD: Final = "1"


class Terminal:
    """Prints progress and result to standard output.

    Args:
        as_json: Print one JSON object at the end and nothing else.

    """

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def note(self, text: str) -> None:
        """Print one line of progress."""
        if not self._json:
            print(text, flush=True)

    def heading(self, text: str) -> None:
        """Print one line of progress that stands out."""
        self.note(self._paint(text, _BOLD))

    def verdict(self, at_s: float, verdict: Verdict, first_answer_ms: float | None) -> None:
        """Print what became of a published version.

        Args:
            at_s: When it was published, in seconds since reloads began.
            verdict: What the server decided.
            first_answer_ms: How long the version's first answer took; None without one.

        """
        kind = f"{'good' if verdict.release.good else 'broken':<8}"
        if verdict.as_it_should:
            kind = self._paint(kind, _GREEN if verdict.release.good else _YELLOW)
        else:
            kind = self._paint(kind, _RED)
        text = _describe(verdict, first_answer_ms)
        self.note(f"{at_s:6.1f} s  {verdict.release.version:<4} {kind} {text}")

    def result(self, summary: Summary, *, log: Path | None) -> None:
        """Print the final table, or the JSON object.

        Args:
            summary: The figures.
            log: Where the server's log was kept; None when all went well.

        """
        if self._json:
            print(
                json.dumps(summary.as_dict() | {"server_log": None if log is None else str(log)}),
                flush=True,
            )
            return
        self.note("")
        for line in summary.lines():
            self.note(f"  {line}")
        self.note("")
        if summary.ok:
            self.note(self._paint("Nothing lost, nothing misread, nothing broken let in.", _GREEN))
            return
        self.note(self._paint("Not as it should be:", _RED))
        for problem in summary.problems:
            self.note(f"  {problem}")
        self.note(f"The server's log: {log}")

    def error(self, error: DemoError) -> None:
        """Print why the demo ended early."""
        if self._json:
            print(json.dumps({"ok": False, "error": str(error)}), flush=True)
        else:
            print(f"hotpaddle demo: {error}", file=sys.stderr, flush=True)

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text


def _describe(verdict: Verdict, first_answer_ms: float | None) -> str:
    after = f"{verdict.after_ms:.0f} ms"
    breakage = verdict.release.breakage
    reason = _one_line(verdict.reason)
    match verdict.outcome:
        case Outcome.LIVE:
            if breakage is not None:
                return f"went live after {after}, though it has {breakage.value}"
            first = "none yet" if first_answer_ms is None else f"{first_answer_ms:.1f} ms"
            return f"live after {after}, first answer {first}"
        case Outcome.REFUSED:
            if breakage is None:
                return f"refused after {after}: {reason}"
            return f"refused after {after}: {breakage.value} ({reason}); {_serves_on(verdict)}"
        case Outcome.UNDECIDED:
            return f"no verdict after {after}; {_serves_on(verdict)}"


def _serves_on(verdict: Verdict) -> str:
    return "nothing serves" if verdict.serving is None else f"{verdict.serving} serves on"


def _one_line(reason: str, limit: int = 90) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
