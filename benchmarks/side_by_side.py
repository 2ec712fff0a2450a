"""Hotpaddle, its peers and the bare loop, all started at once, that they may take turns.

Owns who takes part in a comparison: who waits for its turn sleeps, and costs the others nothing. A
peer that does not start is left out with a note.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.bare import Bare
from benchmarks.bare_loop import BareLoop
from benchmarks.deployment import deploy
from benchmarks.errors import BenchError
from benchmarks.load import run_closed
from benchmarks.models import BenchModel
from benchmarks.options import Options
from benchmarks.peer import ENCODING, Peer, deploy_peer
from benchmarks.throughput import Target
from benchmarks.turns import BARE, Turn, TurnsRow, take_turns

CONCURRENCY: Final = 8
_WARM_UP_S: Final = 1.0


def measure_turns(
    model: BenchModel,
    bare: Bare,
    exports: list[Path],
    work: Path,
    peers: Sequence[Peer],
    options: Options,
    max_batch_size: int,
    note: Callable[[str], None],
) -> list[TurnsRow]:
    """Compare all of them with one model and setting; Hotpaddle is the first row.

    `note` hears of a peer that is left out.

    Raises:
        ModelRefusedError: Hotpaddle does not take the model or its settings.
        BenchError: Hotpaddle or the bare loop cannot be measured.

    """
    settings = {**options.model_options, "max_batch_size": str(max_batch_size)}
    if max_batch_size == 1:
        settings = options.model_options
    names: list[str] = []
    takers: list[Callable[[], Turn]] = []
    with ExitStack() as stack:

        def add(target: Target) -> None:
            taker = partial(_turn, target, options)
            taker(_WARM_UP_S)
            names.append(target.server.name)
            takers.append(partial(taker, options.turn_seconds))

        add(
            stack.enter_context(
                deploy(model, bare, exports, work, options.server_options, settings)
            )
        )
        for place, peer in enumerate(peers):
            folder = work / f"turns-{place}"
            folder.mkdir(exist_ok=True)
            try:
                add(
                    stack.enter_context(
                        deploy_peer(peer, model, bare, exports[0], folder, max_batch_size)
                    )
                )
            except BenchError as error:
                note(f"{peer.name} takes no turns with {model.title}: {error}")
        loop = stack.enter_context(BareLoop(model, exports[0]))
        names.append(BARE)
        takers.append(lambda: Turn(loop.turn(options.turn_seconds).rows_s))
        turns = take_turns(names, takers, options.turn_rounds)
    return [
        TurnsRow(
            model.name, name, max_batch_size, CONCURRENCY,
            [turn.rate for turn in own], sum(turn.errors for turn in own),
        )
        for name, own in zip(names, turns, strict=True)
    ]  # fmt: skip


def _turn(target: Target, options: Options, seconds: float) -> Turn:
    load = run_closed(
        target.server.port, target.request(ENCODING), CONCURRENCY, seconds, target.folder,
        expected=target.expected, own=options.own_generator,
    )  # fmt: skip
    return Turn(load.rate, load.error_count)
