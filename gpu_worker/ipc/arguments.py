"""What a worker is told at birth, on its command line.

Owns the fields and their JSON form. Runs in both processes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from gpu_worker.ipc.link import LinkFds
from gpu_worker.ipc.protocol import PROTOCOL, require


@dataclass(frozen=True, slots=True)
class WorkerArguments:
    """Device (`cpu` or `gpu:N`), the supervisor's process id, the inherited descriptors.

    `cpus` are the cores to run on; with none they are those of the supervisor. `express` has plain
    requests served by compiled code, if there is any.
    """

    device: str
    supervisor_pid: int
    fds: LinkFds
    cpus: tuple[int, ...] = ()
    express: bool = True
    protocol: int = PROTOCOL

    def to_json(self) -> str:
        """Write them for the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerArguments:
        """Read them back; ends the process that a server of another protocol has started."""
        fields = json.loads(text)
        require(fields["protocol"])
        fds = LinkFds(**fields["fds"])
        return cls(
            fields["device"],
            fields["supervisor_pid"],
            fds,
            tuple(fields["cpus"]),
            fields.get("express", True),  # a server that runs older code knows nothing of it
        )
