"""The status line: what `systemctl status` shows of the server, in one short line.

Owns its words. Pure. Runs in the supervisor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_LONGEST: Final = 400
_LONGEST_REASON: Final = 160


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model as the line shows it."""

    name: str
    serving: str = ""  # the version; "" where none serves
    not_ready: str = ""  # why
    refused: str = ""  # the version that was refused after that
    reason: str = ""  # and why


def status_line(models: Iterable[ModelState], problem: str = "", phase: str = "") -> str:
    """Write the line: versions that serve, then what does not, then what was refused."""
    models = list(models)
    serving = [f"{model.name} {model.serving}" for model in models if model.serving]
    waiting = [f"{m.name}: {_short(m.not_ready)}" for m in models if not m.serving]
    refused = [f"{m.name} {m.refused}: {_short(m.reason)}" for m in models if m.refused]
    parts = [
        phase,
        f"serving {', '.join(serving)}" if serving else "serving no model",
        f"refused {'; '.join(refused)}" if refused else "",
        f"not ready {'; '.join(waiting)}" if waiting else "",
        _short(problem),
    ]
    return _cut("; ".join(part for part in parts if part), _LONGEST)


def _short(text: str) -> str:
    """Make one line of a reason, of printable characters: a line end would begin a new field."""
    words = " ".join(text.split())
    return _cut("".join(c if c.isprintable() else "?" for c in words), _LONGEST_REASON)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
