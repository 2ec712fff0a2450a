"""Recent shapes: which input shapes the traffic of a model shows at present.

Owns the last few, so that a new version is warmed up with what it will meet. Runs in the
supervisor.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

Shapes = tuple[tuple[int, ...], ...]

_KEPT: Final = 8


class RecentShapes:
    """The shapes of the last requests that succeeded, each kind once."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Shapes, None] = OrderedDict()
        self.latest: Shapes = ()  # most often that of the next request, too

    def note(self, shapes: Shapes) -> None:
        """Take note of a request's input shapes, in the contract's order."""
        self.latest = shapes
        if shapes in self._seen:
            self._seen.move_to_end(shapes)
            return
        self._seen[shapes] = None
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)

    def list(self) -> list[Shapes]:
        """Give them, the latest last."""
        return [*self._seen]
