"""Passes until the repository is settled: no version is half written, no wish was superseded.

Owns the repeated asking. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from supervisor.lifecycle.model_manager import ModelManager
from supervisor.lifecycle.triggers import Verdicts
from supervisor.lifecycle.verdict import Outcome

_POLL_S: Final = 0.1


async def passes_until_settled(
    manager: ModelManager, trigger: str
) -> AsyncGenerator[Verdicts, None]:
    """Give the verdicts of one pass after the other; the last has none that is pending.

    Raises:
        NotReady: a pass broke off.

    """
    while True:
        verdicts = await manager.reconciled(trigger)
        yield verdicts
        if all(verdict.outcome is not Outcome.PENDING for verdict in verdicts.values()):
            return
        await asyncio.sleep(_POLL_S)
