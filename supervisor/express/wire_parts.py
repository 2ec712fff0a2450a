"""The compiled parts beside a client's socket, where there are any, or what stands in their place.

Apart from `ring_parts`, for workers know nothing of HTTP. Runs on the event loop of every front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisor.express.ring_parts import Rings

if TYPE_CHECKING:
    from supervisor.express.plain import ExchangeState, Wire

    Express: Any
elif Rings is not None:
    from supervisor.express.express import Express
    from supervisor.express.wire import ExchangeState, Wire
else:
    from supervisor.express.plain import ExchangeState, Wire

    Express = None

__all__ = ["ExchangeState", "Express", "Wire"]
