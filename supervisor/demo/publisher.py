"""The demo's model repository: versions published one after another, some of them broken.

Owns the temporary repository's files and the plan of what is published. A version appears
under a hidden name, then under its own; the pointer, replaced in one step, comes last and is
the commit. Never asks the server to reload, and never judges what it did.
Runs in the process of `hotpaddle demo`; its calls block and belong in a thread.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import Final

from supervisor.demo.recogniser import PARAMS, PROGRAM, RecogniserFiles

MODEL: Final = "ocr"
POINTER: Final = "model_version.txt"
FIRST_VERSION: Final = "v1"

MODEL_SETTINGS: Final = """\
# Run once before a version serves, so that no client pays for the first run.
[[warmup]]
x = [1, 3, 48, 320]
"""

_NAN_BYTES: Final = 4096


class Breakage(Enum):
    """What is wrong with a broken version; the value says it to the reader."""

    PARAMS_TRUNCATED = "params truncated"
    PROGRAM_GARBAGE = "program garbage"
    PARAMS_MISSING = "params missing"
    PARAMS_NAN = "params with NaN"
    VERSION_ABSENT = "pointer to a version that isn't there"


@dataclass(frozen=True, slots=True)
class Release:
    """One version to publish; good when it has no breakage."""

    version: str
    breakage: Breakage | None = None

    @property
    def good(self) -> bool:
        """Whether the server ought to serve this version."""
        return self.breakage is None


def release_plan() -> Iterator[Release]:
    """Yield what follows the first version: good, broken, good, broken, without end."""
    numbers = itertools.count(2)
    for breakage in itertools.cycle(Breakage):
        yield Release(f"v{next(numbers)}")
        yield Release(f"v{next(numbers)}", breakage)


class Publisher:
    """Writes versions into a model repository.

    Args:
        repository: The repository's folder; made if need be.
        files: The recogniser that every version is a copy of.

    """

    def __init__(self, repository: Path, files: RecogniserFiles) -> None:
        self._model = repository / MODEL
        self._files = files

    def create(self) -> None:
        """Make the repository with the model's settings and its first version.

        Raises:
            OSError: The file system refuses, for one when it's full.

        """
        self._model.mkdir(parents=True)
        (self._model / "model.toml").write_text(MODEL_SETTINGS, encoding="utf-8")
        self.publish(Release(FIRST_VERSION))

    def publish(self, release: Release) -> float:
        """Publish one version and return the `perf_counter` time of its commit.

        Raises:
            OSError: The file system refuses, for one when it's full.

        """
        if release.breakage is not Breakage.VERSION_ABSENT:
            self._write_version(release)
        pointer = self._model / f".{POINTER}.tmp"
        pointer.write_text(f"{release.version}\n", encoding="utf-8")
        pointer.replace(self._model / POINTER)
        return perf_counter()

    def _write_version(self, release: Release) -> None:
        hidden = self._model / f".{release.version}.tmp"
        hidden.mkdir()
        shutil.copyfile(self._files.program, hidden / PROGRAM)
        shutil.copyfile(self._files.params, hidden / PARAMS)
        if release.breakage is not None:
            _break(hidden, release.breakage)
        hidden.rename(self._model / release.version)


def _break(version: Path, breakage: Breakage) -> None:
    params = version / PARAMS
    match breakage:
        case Breakage.PARAMS_TRUNCATED:
            os.truncate(params, params.stat().st_size // 2)
        case Breakage.PROGRAM_GARBAGE:
            program = version / PROGRAM
            # The size stays, so that only the content gives it away.
            program.write_bytes(b"\xa5not a program" * (program.stat().st_size // 14))
        case Breakage.PARAMS_MISSING:
            params.unlink()
        case Breakage.PARAMS_NAN:
            with params.open("r+b") as file:
                # The middle of the file lies within one large tensor. A float of all ones
                # is NaN, wherever in the byte stream the floats begin.
                file.seek(params.stat().st_size // 2)
                file.write(b"\xff" * _NAN_BYTES)
        case Breakage.VERSION_ABSENT:
            raise ValueError("a version that isn't there has no files to break")
