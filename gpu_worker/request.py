"""A request as the worker holds it: a submission, its payload, its layout.

Owns how a submission becomes a request, or is refused before anything runs. Runs in the worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from gpu_worker.ipc.link import SOLO, Submission
from gpu_worker.layout import Group, Layout, Layouts
from gpu_worker.links import AttachedLink

T = TypeVar("T")


class Request(NamedTuple):
    """One request that waits or runs; what it has in common with others, see `batching.Waiting`.

    `payload` views the slot, which is the request's until it is answered.
    """

    link: AttachedLink
    submission: Submission
    payload: memoryview
    layout: Layout
    group: Group | None
    rows: int
    submitted_ns: int
    alone: bool


def request_of(
    link: AttachedLink, submission: Submission, layouts: Layouts, load_id: int
) -> Request | None:
    """Take a submission in; None when its slot or its load are not what it says.

    Raises:
        ValueError: the payload is not one that the model takes.

    """
    if submission.load_id & ~SOLO != load_id:
        return None
    payload = link.arena.payload(
        submission.slot_offset, submission.length, submission.slot_reuse, submission.request_id
    )
    if payload is None:
        return None
    layout = layouts.read(payload)
    group = layout.group
    alone = group is None or not group.batchable or submission.load_id >= SOLO
    return Request(
        link, submission, payload, layout, group, layout.rows, submission.submitted_ns, alone
    )


def by_link(batch: list[Request]) -> list[tuple[AttachedLink, list[Request]]]:
    """Sort a batch's requests by their links, most often one."""
    first = batch[0].link
    if len(batch) == 1 or all([request.link is first for request in batch]):  # noqa: C419 - quicker
        return [(first, batch)]
    return list(grouped((request.link, request) for request in batch).items())


def grouped(pairs: Iterable[tuple[AttachedLink, T]]) -> dict[AttachedLink, list[T]]:
    """Sort what came by links; each link's stays in its order."""
    found: dict[AttachedLink, list[T]] = {}
    for link, one in pairs:
        found.setdefault(link, []).append(one)
    return found


def alike(requests: Sequence[Request]) -> bool:
    """Say whether requests are of one group, and none is padded or must run alone by order."""
    group = requests[0].group
    return all(
        request.group is group and not request.layout.padded and request.submission.load_id < SOLO
        for request in requests
    )
