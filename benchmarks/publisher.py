"""Publishes versions into a model repository, as the README says.

Owns the repository's files. A version is copied in under a hidden name, renamed, and committed by
replacing the pointer. An old one of the same bytes is renamed instead: publishers copy from
elsewhere, so that what it costs here would be counted against the server. Others are removed, so
that a long run does not fill the disk. Blocks; runs in the benchmark's own process while the load
runs in another.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.exports import program_and_params

_POINTER: Final = "model_version.txt"
_KEPT: Final = 4


@dataclass(slots=True)
class Publisher:
    """Publishes a model's exports by turns, as versions v1, v2, ...

    `commits` holds when each version was committed, on the monotonic clock.
    """

    repository: Path
    model: str
    exports: list[Path]
    count: int = 0
    commits: dict[str, float] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Name the version that was published last."""
        return f"v{self.count}"

    def export_of(self, version: str) -> int:
        """Tell which export a version is a copy of."""
        return (int(version.removeprefix("v")) - 1) % len(self.exports)

    def settings(self, text: str) -> None:
        """Write the model's settings."""
        folder = self.repository / self.model
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.toml").write_text(text, encoding="utf-8")

    def prepare(self) -> None:
        """Put the next version into its place, without committing it."""
        self.count += 1
        old = f"v{self.count - _KEPT}"
        if self.count > _KEPT and self.export_of(old) == self.export_of(self.version):
            self._folder(old).rename(self._folder(self.version))
            return
        hidden = self._folder(f".{self.version}.tmp")
        hidden.mkdir(parents=True)
        for file in program_and_params(self.exports[self.export_of(self.version)]):
            shutil.copyfile(file, hidden / file.name)
        hidden.rename(self._folder(self.version))

    def commit(self) -> None:
        """Make the prepared version the one that shall serve."""
        temporary = self._folder(f".{_POINTER}.tmp")
        temporary.write_text(f"{self.version}\n", encoding="utf-8")
        temporary.replace(self._folder(_POINTER))
        self.commits[self.version] = time.monotonic()
        shutil.rmtree(self._folder(f"v{self.count - _KEPT}"), ignore_errors=True)

    def publish(self) -> None:
        """Publish the next version."""
        self.prepare()
        self.commit()

    def publish_every(self, seconds: float, until: float) -> None:
        """Publish now and by a fixed beat; comes back at `until` (monotonic clock)."""
        beat = time.monotonic()
        while beat < until - seconds / 2:
            self.prepare()
            time.sleep(max(0.0, beat - time.monotonic()))
            self.commit()
            beat += seconds
        time.sleep(max(0.0, until - time.monotonic()))

    def _folder(self, name: str) -> Path:
        return self.repository / self.model / name
