"""The compiled loop, where there is one: without a compiler at installation there is none.

Runs in the worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Express: Any
else:
    try:
        from gpu_worker.express.express import Express
    except ModuleNotFoundError:
        Express = None

__all__ = ["Express"]
