"""The service under test: its units, and how it is asked how it is.

Owns their names. Runs in pytest's process.
"""

from __future__ import annotations

from subprocess import CompletedProcess
from typing import Final

from tests.systemd.container import VENV, Container

UNIT: Final = "hotpaddle.service"
SOCKET: Final = "hotpaddle.socket"
ADMIN: Final = "hotpaddle-admin.socket"
ADMIN_PATH: Final = "/run/hotpaddle/admin.sock"


def status_text(container: Container) -> str:
    return container.show(UNIT, "StatusText")["StatusText"]


def operators_status(container: Container, *, check: bool = True) -> CompletedProcess[str]:
    """Ask over the operators' socket what serves."""
    command = (f"{VENV}/bin/hotpaddle", "status", "--url", f"unix:{ADMIN_PATH}")
    return container.run(*command, check=check)
