"""What the server made of a published version.

Owns the wait for the server's verdict. Judges by what the server itself reports to
operators; whether clients saw the version too is for the tally to say.
Runs in the process of `hotpaddle demo`.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from typing import Final

from supervisor.demo.client import ModelClient, ModelView
from supervisor.demo.publisher import Release

VERDICT_WITHIN_S: Final = 8.0
_POLL_S: Final = 0.02


class Outcome(Enum):
    """The server's verdict on a version."""

    LIVE = "live"
    REFUSED = "refused"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a published version.

    Attributes:
        release: What was published.
        outcome: What the server did with it.
        after_ms: Time from the commit to the verdict.
        reason: The server's reason for a refusal.
        serving: The version that serves now.

    """

    release: Release
    outcome: Outcome
    after_ms: float
    reason: str
    serving: str | None

    @property
    def as_it_should(self) -> bool:
        """Whether a good version went live, or a broken one was refused."""
        wanted = Outcome.LIVE if self.release.good else Outcome.REFUSED
        return self.outcome is wanted


def judge(view: ModelView, version: str) -> Outcome:
    """Read the verdict on one version from the server's view of the model."""
    if view.serving == version:
        return Outcome.LIVE
    if view.failed == version:
        return Outcome.REFUSED
    return Outcome.UNDECIDED


async def await_verdict(client: ModelClient, release: Release, committed_at: float) -> Verdict:
    """Ask until the server has decided, or for `VERDICT_WITHIN_S` seconds at most.

    Args:
        client: The model's client.
        release: What was published.
        committed_at: When it was committed, on the clock of `perf_counter`.

    Raises:
        DemoError: The server gives no view of the model.

    """
    while True:
        view = await client.view()
        after_s = perf_counter() - committed_at
        outcome = judge(view, release.version)
        if outcome is not Outcome.UNDECIDED or after_s > VERDICT_WITHIN_S:
            reason = view.reason if outcome is Outcome.REFUSED else ""
            return Verdict(release, outcome, 1000 * after_s, reason, view.serving)
        await asyncio.sleep(_POLL_S)
