"""The measured part of the demo: read quietly, then read while versions are published.

Owns the order and the times of what happens while the server runs. Starts and stops no
process and makes no folder. Runs in the process of `hotpaddle demo`.
"""

import asyncio
import math
from time import perf_counter
from typing import Final

from supervisor.demo.client import ModelClient
from supervisor.demo.load import Load
from supervisor.demo.options import DemoOptions
from supervisor.demo.publisher import Publisher, Release, release_plan
from supervisor.demo.tally import Phase
from supervisor.demo.terminal import Terminal
from supervisor.demo.verdict import Outcome, Verdict, await_verdict

_FIRST_ANSWER_WITHIN_S: Final = 2.0


def next_slot(slot_s: float, *, every_s: float, elapsed_s: float) -> float:
    """Return when to publish next: the slot after this one that isn't past already."""
    return max(slot_s + every_s, math.ceil(elapsed_s / every_s) * every_s)


class Course:
    """One run against a server that is ready.

    Args:
        options: How long, how often, how many readers.
        terminal: Takes the progress.
        publisher: Holds the repository that the server watches.
        client: The model's client.
        load: The readers.

    """

    def __init__(
        self,
        options: DemoOptions,
        terminal: Terminal,
        publisher: Publisher,
        client: ModelClient,
        load: Load,
    ) -> None:
        self._options = options
        self._terminal = terminal
        self._publisher = publisher
        self._client = client
        self._load = load

    async def run(self) -> list[Verdict]:
        """Measure without and with reloads; return what became of each version.

        Raises:
            DemoError: The server gives no view of the model.
            OSError: A version can't be written.

        """
        options = self._options
        # The first run of each shape is slow in any framework and says nothing of reloads.
        await self._load.read_each_once()
        readers = asyncio.ensure_future(
            self._load.run(readers=options.concurrency, seed=options.seed)
        )
        try:
            self._load.phase = Phase.WITHOUT_RELOADS
            self._terminal.note(
                f"  reading for {options.seconds_without_reloads:g} s without reloads"
            )
            await asyncio.sleep(options.seconds_without_reloads)
            self._load.phase = Phase.WITH_RELOADS
            self._terminal.note(
                f"  reading for {options.seconds_with_reloads:g} s, with a new version every "
                f"{options.publish_every_s:g} s"
            )
            verdicts = await self._publish_on_time()
        except BaseException:
            readers.cancel()
            await asyncio.wait((readers,))
            raise
        self._load.stop()
        await readers
        return verdicts

    async def _publish_on_time(self) -> list[Verdict]:
        begun = perf_counter()
        every_s, end_s = self._options.publish_every_s, self._options.seconds_with_reloads
        plan = release_plan()
        slot_s = every_s
        verdicts = []
        while slot_s < end_s:
            await asyncio.sleep(begun + slot_s - perf_counter())
            verdicts.append(await self._publish(slot_s, next(plan)))
            slot_s = next_slot(slot_s, every_s=every_s, elapsed_s=perf_counter() - begun)
        await asyncio.sleep(begun + end_s - perf_counter())
        return verdicts

    async def _publish(self, at_s: float, release: Release) -> Verdict:
        # In a thread, for copying a model must not hold up the readers.
        committed_at = await asyncio.to_thread(self._publisher.publish, release)
        verdict = await await_verdict(self._client, release, committed_at)
        first_ms = None
        if verdict.outcome is Outcome.LIVE:
            first_ms = await self._load.first_answer_ms(
                release.version, within_s=_FIRST_ANSWER_WITHIN_S
            )
        self._terminal.verdict(at_s, verdict, first_ms)
        return verdict
