"""The protocol: one number for all that the processes of one server say to each other.

Owns the number. A process is started by the code that is installed, which may be newer than the
server that runs: then it must not guess what it is told. Runs in all processes.
"""

from __future__ import annotations

import sys
from typing import Final

# Of messages, rings, tensor tables and the arena. To be raised with every change after which the
# processes of an older program would be misunderstood.
PROTOCOL: Final = 2


def require(protocol: int) -> None:
    """End this process, with a line that says why, unless it speaks as the server does."""
    if protocol != PROTOCOL:
        sys.exit(
            f"hotpaddle: the code that is installed speaks protocol {PROTOCOL}, the server that "
            f"runs {protocol}: restart the server"
        )
