"""The messages between the supervisor and a further front.

Owns their fields, plain JSON values only. What a front must know of a model comes as a whole with
each change (its `LaneState`s, then its `ModelState`), so that a front that has just started and one
that has seen everything end up alike. An `order` is a number that the front gives back in `Done`
once it has obeyed; 0 asks for no answer. Runs in both processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpu_worker.ipc.channel import MAX_MESSAGE, Channel
from gpu_worker.ipc.vocabulary import Vocabulary

# Supervisor to front


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker has been started; the front answers with a `Link` to it."""

    number: int
    pid: int
    device: str


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """A worker has ended: what it held for the front is to be sent again."""

    number: int


@dataclass(frozen=True, slots=True)
class NeedSpace:
    """A worker sleeps until all its answers to this front are released."""

    worker: int


@dataclass(frozen=True, slots=True)
class LaneState:
    """One loaded version. `workers` are pairs of a worker's number and its load's id."""

    number: int
    model: str
    version: str
    generation: int
    contract: dict[str, Any]  # `Contract.to_json()`
    limits: dict[str, int]  # timeout_ms, queue_limit, max_in_flight
    workers: list[list[int]]
    closing: bool


@dataclass(frozen=True, slots=True)
class ModelState:
    """Which lanes a model has, by their numbers; 0 for none.

    While `held`, nothing more goes to the serving lane: it waits for a switch, which no front may
    make before all of them wait (G1).
    """

    order: int
    model: str
    held: bool
    generation: int
    why_not: str
    serving: int
    retained: int


@dataclass(frozen=True, slots=True)
class Reloading:
    """A reload begins or has ended: requests that are under way meanwhile are counted apart."""

    under_way: bool


@dataclass(frozen=True, slots=True)
class Reread:
    """Read the files of access anew."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Say when no request is left in a lane."""

    order: int
    lane: int


@dataclass(frozen=True, slots=True)
class Report:
    """Say what was counted; by then all that was told before is known."""

    order: int


@dataclass(frozen=True, slots=True)
class Serve:
    """Listen."""


@dataclass(frozen=True, slots=True)
class Closing:
    """End each connection with its next answer; all else goes on until `Stop`."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Accept nothing more, let requests finish, end with status 0. A second one hurries.

    Not `for_good`: the supervisor goes on to accept from the front's sockets.
    """

    timeout_s: float
    for_good: bool = True


# Front to supervisor


@dataclass(frozen=True, slots=True)
class Listening:
    """The front accepts connections."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a worker. Four descriptors come along: rings, arena, and the two doorbells."""

    worker: int


@dataclass(frozen=True, slots=True)
class SpaceFreed:
    """The answer to `NeedSpace`."""

    worker: int


@dataclass(frozen=True, slots=True)
class Done:
    """An order has been obeyed."""

    order: int


@dataclass(frozen=True, slots=True)
class ModelCounted:
    """What a front has counted for one model since it started: `ModelStatistics.to_dict()`.

    `shapes` are the input shapes that its traffic shows at present.
    """

    model: str
    statistics: dict[str, Any]
    shapes: list[list[list[int]]]


@dataclass(frozen=True, slots=True)
class FrontCounted:
    """What a front has counted beside its models: `FrontStatistics.to_dict()` without them.

    `workers` are the fields of a `WorkerTally` by number.
    """

    statistics: dict[str, Any]
    workers: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Hung:
    """A worker has given this front no answer for too long, or one that makes no sense."""

    worker: int


@dataclass(frozen=True, slots=True)
class PassOn:
    """A client asks for more than an inference. A stream socket comes along, to serve it on.

    The fields are those of its `Caller`, which the supervisor does not see.
    """

    address: str
    encrypted: bool


FrontMessage = (
    WorkerUp
    | WorkerGone
    | NeedSpace
    | LaneState
    | ModelState
    | Reloading
    | Reread
    | Drain
    | Report
    | Serve
    | Closing
    | Stop
    | Listening
    | Link
    | SpaceFreed
    | Done
    | ModelCounted
    | FrontCounted
    | Hung
    | PassOn
)


class FrontChannel(Channel[FrontMessage]):
    """One end of the channel between the supervisor and a front."""

    largest = MAX_MESSAGE + (1 << 14)  # a lane with any contract that a worker could tell
    vocabulary = Vocabulary[FrontMessage](
        WorkerUp,
        WorkerGone,
        NeedSpace,
        LaneState,
        ModelState,
        Reloading,
        Reread,
        Drain,
        Report,
        Serve,
        Closing,
        Stop,
        Listening,
        Link,
        SpaceFreed,
        Done,
        ModelCounted,
        FrontCounted,
        Hung,
        PassOn,
    )
