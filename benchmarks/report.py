"""Everything that a run found, as plain data.

Owns the form of the JSON file: machine and versions, settings, and a list of rows per part.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bare import Bare
from benchmarks.beside import BesideRow
from benchmarks.generator_check import GeneratorRow
from benchmarks.goals import Goal
from benchmarks.reloads import ReloadRow
from benchmarks.server import NAME
from benchmarks.throughput import ThroughputRow
from benchmarks.turns import TurnsRow


@dataclass(slots=True)
class Report:
    """The findings so far."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    server: dict[str, Any] = field(default_factory=dict)
    generators: list[GeneratorRow] = field(default_factory=list)
    bare: dict[str, Bare] = field(default_factory=dict)
    rows: list[ThroughputRow] = field(default_factory=list)
    turns: list[TurnsRow] = field(default_factory=list)
    idle: list[dict[str, Any]] = field(default_factory=list)
    reloads: list[ReloadRow] = field(default_factory=list)
    beside: list[BesideRow] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Count what went wrong in all measurements of the server; a peer's errors are its own."""
        rows = sum(row.errors for row in self.rows if row.server == NAME)
        turns = sum(row.errors for row in self.turns if row.who == NAME)
        return rows + turns + sum(row.errors for row in self.reloads)

    @property
    def idle_totals(self) -> dict[str, float]:
        """Give each idle server's share of a core in percent, all processes together."""
        return {idle["model"]: sum(idle["percent_of_a_core"].values()) for idle in self.idle}

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON file's content."""
        return {
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "machine": self.machine,
            "settings": self.settings,
            "server": self.server,
            "generators": [asdict(row) for row in self.generators],
            "bare": [
                {"model": name, **asdict(result)}
                for name, bare in self.bare.items()
                for result in bare.results.values()
            ],
            "rows": [asdict(row) for row in self.rows],
            "turns": [asdict(row) for row in self.turns],
            "idle": self.idle,
            "reloads": [
                {**asdict(row), "throughput_ratio": row.throughput_ratio,
                 "slowest_first_ms": row.slowest_first_ms, "first_ratio": row.first_ratio}
                for row in self.reloads
            ],
            "beside": [{**asdict(row), "p99_ratio": row.p99_ratio} for row in self.beside],
            "goals": [asdict(goal) for goal in self.goals],
            "notes": self.notes,
            "errors": self.errors,
        }  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_dict(), indent=1, default=str), encoding="utf-8")
