"""The peers, and the rows that they give in the same run.

Owns which there are and what is done where one is missing: it is left out with a note, for
Hotpaddle's own figures do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.bare import Bare
from benchmarks.errors import BenchError
from benchmarks.models import BenchModel
from benchmarks.mosec_peer import MosecPeer
from benchmarks.options import Options
from benchmarks.peer import ENCODING, Peer, deploy_peer
from benchmarks.throughput import ThroughputRow, measure_rows
from benchmarks.triton_peer import TritonPeer

PEERS: Final[dict[str, Peer]] = {"mosec": MosecPeer(), "triton": TritonPeer()}


def usable_peers(options: Options, note: Callable[[str], None]) -> list[Peer]:
    """Give the peers that are asked for and installed; notes settings, and why one is not."""
    usable = []
    for peer in (PEERS[name] for name in options.peers):
        missing = peer.missing()
        if missing:
            note(f"{peer.name} is left out: {missing}")
        else:
            note(f"{peer.name}: {peer.settings}")
            usable.append(peer)
    return usable


def peer_rows(
    peer: Peer,
    model: BenchModel,
    bare: Bare,
    export: Path,
    work: Path,
    options: Options,
    note: Callable[[str], None],
) -> Iterator[ThroughputRow]:
    """Measure a peer without batching and with it."""
    sizes = (1, options.batch_size) if options.batch_size > 1 else (1,)
    for size in sizes:
        try:
            with deploy_peer(peer, model, bare, export, work, size) as deployment:
                yield from measure_rows(
                    deployment, [ENCODING], options.peer_concurrencies, options.seconds, size,
                    own=options.own_generator,
                )  # fmt: skip
        except BenchError as error:
            note(f"{peer.name} with {model.title}, batches of {size}, is left out: {error}")
