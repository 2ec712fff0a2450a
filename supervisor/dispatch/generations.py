"""Generations: which version of a model serves, which served before, and the count of switches.

Owns the two lanes of a model. The switch is one assignment between two steps of the event loop, so
that all instances on all devices change in the same instant. Runs in every front.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from supervisor.dispatch.lane import Lane
from supervisor.dispatch.ledger import Ledger
from supervisor.errors import NotFound, NotReady

# After a switch nothing that can wait comes between the first requests and their answers.
CALM_S: Final = 0.05


class Generations:
    """The serving and the retained lane of one model."""

    def __init__(self, model: str) -> None:
        self.number = 0
        self.serving: Lane | None = None
        self.retained: Lane | None = None
        self.ledger = Ledger()
        self.why_not = "no version has been loaded yet"
        self._model = model

    def lanes(self) -> list[Lane]:
        """List the lanes that requests may go to."""
        return [lane for lane in (self.serving, self.retained) if lane is not None]

    def find(self, version: str | None) -> Lane:
        """Find the lane that a request asks for; None stands for the serving one.

        Raises:
            NotReady: nothing serves.
            NotFound: that version is neither serving nor retained.

        """
        if version is None:
            if self.serving is None:
                raise NotReady(f"model {self._model!r} is not ready: {self.why_not}")
            return self.serving
        for lane in self.lanes():
            if lane.version == version and not lane.closing:
                return lane
        have = [lane.version for lane in self.lanes()]
        raise NotFound(
            f"model {self._model!r} has no version {version!r} loaded; loaded: "
            f"{', '.join(have) or 'none'}"
        )

    def switch(self, lane: Lane, number: int | None = None) -> Lane | None:
        """Make `lane` the serving one, in the next generation; the old one is retained.

        `number` is the generation where another process has counted it.
        """
        old = self.serving
        self.number = self.number + 1 if number is None else number
        lane.generation = self.number
        lane.since = time.time()
        self.serving, self.retained = lane, old
        self.ledger.follow(lane)
        asyncio.get_running_loop().call_later(CALM_S, self._settle)
        return old

    def _settle(self) -> None:
        self.ledger.settle(self.lanes())

    def take_up(self, number: int, serving: Lane | None, retained: Lane | None) -> None:
        """Go on from where another program was."""
        self.number, self.serving, self.retained = number, serving, retained

    def stop(self, why: str) -> Lane | None:
        """Serve nothing; give the lane that did."""
        old, self.serving = self.serving, None
        self.why_not = why
        return old

    def forget(self) -> Lane | None:
        """Retain nothing; give the lane that was."""
        lane, self.retained = self.retained, None
        return lane
