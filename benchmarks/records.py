"""What a load generator records of each answer, and what can be read from it.

Owns the binary form (one fixed-size record per answer, appended to a file as they come, so that a
long run can be read while it goes on) and cuts by time and version. Pure, but for the file.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

RECORD: Final = np.dtype([("at", "<f8"), ("ms", "<f4"), ("version", "<u2"), ("status", "<u2")])
Records = npt.NDArray[Any]


class RecordWriter:
    """Collects records and appends them to a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._at = array("d")
        self._ms = array("f")
        self._version = array("H")
        self._status = array("H")

    def add(self, at: float, ms: float, version: int, status: int) -> None:
        """Record one answer: when it came (monotonic clock), its latency, who gave it."""
        self._at.append(at)
        self._ms.append(ms)
        self._version.append(version)
        self._status.append(status)

    def flush(self) -> None:
        """Append what was collected to the file."""
        block = np.empty(len(self._at), RECORD)
        for name, values in (
            ("at", self._at), ("ms", self._ms), ("version", self._version),
            ("status", self._status),
        ):  # fmt: skip
            block[name] = np.frombuffer(values, RECORD[name]) if values else 0
        self._file.write(block.tobytes())
        self._at, self._ms = array("d"), array("f")
        self._version, self._status = array("H"), array("H")

    def close(self) -> None:
        """Append the rest and close the file."""
        self.flush()
        self._file.close()


def read_records(path: Path, first: int = 0) -> Records:
    """Read whole records from the `first` one on."""
    with path.open("rb") as file:
        file.seek(first * RECORD.itemsize)
        data = file.read()
    return np.frombuffer(data[: len(data) // RECORD.itemsize * RECORD.itemsize], RECORD)


def between(records: Records, start: float, end: float) -> Records:
    """Cut out what came from `start` on and before `end`."""
    inside: Records = records[(records["at"] >= start) & (records["at"] < end)]
    return inside


def good(records: Records) -> Records:
    """Leave errors out."""
    answers: Records = records[records["status"] == 200]
    return answers


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """The first answer that a version gave."""

    version: str
    at: float
    ms: float


def first_answers(records: Records, versions: list[str]) -> list[FirstAnswer]:
    """Find each version's first answer, in the order in which versions came."""
    answers = good(records)
    numbers, places = np.unique(answers["version"], return_index=True)
    firsts = [
        FirstAnswer(versions[number], float(answers["at"][place]), float(answers["ms"][place]))
        for number, place in zip(numbers.tolist(), places.tolist(), strict=True)
    ]
    return sorted(firsts, key=lambda first: first.at)
