"""The compiled parts, where there are any: without a compiler at installation there are none.

Owns what stands in their place. Runs on the event loop of every front.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor.express.plain import ExchangeState, Wire

    Rings: Any
    Express: Any
    collect: Callable[[Any], None] | None
else:
    try:
        from supervisor.express.collector import collect
        from supervisor.express.express import Express
        from supervisor.express.rings import Rings
        from supervisor.express.wire import ExchangeState, Wire
    except ModuleNotFoundError:
        from supervisor.express.plain import ExchangeState, Wire

        Rings = Express = collect = None

__all__ = ["ExchangeState", "Express", "Rings", "Wire", "collect"]
