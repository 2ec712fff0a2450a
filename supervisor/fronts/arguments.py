"""What a further front is told at birth, on its command line.

Owns the fields and their JSON form. Runs in both processes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gpu_worker.ipc.protocol import PROTOCOL, require
from supervisor.settings import Settings


@dataclass(frozen=True, slots=True)
class FrontArguments:
    """The front's number, the supervisor's process id, the settings, the inherited descriptors.

    `listeners` are listening sockets, which stay open in the supervisor: who connects while a front
    is being replaced waits in their backlog.
    """

    number: int
    supervisor_pid: int
    settings: Settings
    channel: int
    listeners: tuple[int, ...]
    ours: bool  # the listeners; else they are systemd's
    protocol: int = PROTOCOL

    def to_json(self) -> str:
        """Write them for the command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> FrontArguments:
        """Read them back; ends the process that a server of another protocol has started."""
        fields = json.loads(text)
        require(fields["protocol"])
        settings = fields["settings"]
        settings["model_repository"] = Path(settings["model_repository"])
        return cls(
            fields["number"],
            fields["supervisor_pid"],
            Settings(**settings),
            fields["channel"],
            tuple(fields["listeners"]),
            fields["ours"],
        )
