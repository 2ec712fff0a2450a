"""What is kept of a server: everything that an upgrade in place takes along, as one document.

Owns the document's form and its number. A program reads documents of its own form only; whether it
understands one, and the workers that it speaks of, it says before anything is given up. Pure, but
for the memory file that carries the document. Runs in the supervisor.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from gpu_worker.ipc.protocol import PROTOCOL
from supervisor.errors import SettingsError
from supervisor.kept.clients import KeptClient
from supervisor.kept.models import KeptModel
from supervisor.kept.workers import KeptWorker

FORM: Final = 2  # of this document; to be raised with every change of its fields' meaning
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class KeptArena:
    """The request arena: its descriptor, and how it is divided."""

    fd: int
    plan: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class KeptSockets:
    """Descriptors that listen: a list for each front, and for operators.

    `ours` says that the fronts' are not systemd's; `operators` are, `admin` is ours, -1: none.
    """

    fronts: list[list[int]]
    ours: bool
    operators: list[int]
    admin: int
    admin_path: str


@dataclass(frozen=True, slots=True)
class KeptState:
    """What serves. `children` are processes to be ended: the new program starts its own."""

    arena: KeptArena
    workers: list[KeptWorker]
    models: list[KeptModel]
    clients: list[KeptClient]
    children: list[int]
    passes: int
    restarts: int
    next_worker: int
    next_request: int
    next_load: int
    ended_fronts: dict[str, Any]  # `FrontStatistics.to_dict()`
    tallies: dict[int, tuple[int, int]]  # of workers, by ended fronts: answered, stale
    access_lines: bytes  # of the access log, not written yet
    ready: bool  # systemd has been told


@dataclass(frozen=True, slots=True)
class Kept:
    """The document. Without `state` the sockets alone are kept, and all else begins anew."""

    form: int
    protocol: int
    version: str  # of the program that wrote it
    settings: dict[str, str]  # those that cannot change meanwhile
    sockets: KeptSockets
    upgrades: int  # this one counted
    began_ns: int  # CLOCK_MONOTONIC, when the old program stopped to answer
    state: KeptState | None = field(default=None)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The part of a document that every program can read."""

    form: int
    protocol: int
    version: str


def without_state(kept: Kept) -> Kept:
    """Give the document of a server that begins anew, on the same sockets."""
    return replace(kept, state=None)


def write(kept: Kept) -> int:
    """Write a document into a memory file; gives its descriptor.

    Raises:
        OSError: there is no memory for it.

    """
    fd = os.memfd_create("hotpaddle-kept", os.MFD_CLOEXEC)
    try:
        data = memoryview(msgspec.json.encode(kept))
        while data:
            data = data[os.write(fd, data[:_CHUNK]) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(fd: int) -> Kept:
    """Read a document.

    Raises:
        SettingsError: this program does not understand it.

    """
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    try:
        numbers = msgspec.json.decode(data, type=_Numbers)
        if (numbers.form, numbers.protocol) != (FORM, PROTOCOL):
            raise SettingsError(
                f"hotpaddle {numbers.version}, which runs, leaves its workers in form "
                f"{numbers.form}.{numbers.protocol}, this program takes over form "
                f"{FORM}.{PROTOCOL} only: restart the server instead"
            )
        return msgspec.json.decode(data, type=Kept)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"what the running server leaves cannot be read: {error}") from error
