"""The compiled parts beside a worker's rings, where there are any: else Python code does it all.

All parts are there or none: the collector needs every one of them. Runs on the event loop of every
front.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Rings: Any
    collect: Callable[[Any], None] | None
else:
    try:
        from supervisor.express.collector import collect
        from supervisor.express.rings import Rings
    except ModuleNotFoundError:
        Rings = collect = None

__all__ = ["Rings", "collect"]
