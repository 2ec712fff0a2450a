"""The handover: what systemd gives a service at its start, read once and taken away.

Owns the variables of sd_notify, socket activation and the watchdog, and the listening sockets that
they speak of. None of them reaches a child: a worker that notified or listened would speak for the
server. Runs in the supervisor, before anything else starts.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from supervisor.errors import SettingsError

_FIRST_FD: Final = 3
_HTTP_NAMES: Final = ("http", "unknown")  # FileDescriptorName=, and what is said where none is
VARIABLES: Final = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Handover:
    """What there is; nothing where the server was not started by systemd."""

    notify_socket: str = ""  # a path, or @NAME in the abstract namespace
    watchdog_s: float = 0.0  # 0: nobody watches
    sockets: tuple[socket.socket, ...] = ()  # they listen already

    def environment(self) -> dict[str, str]:
        """Give the variables that say so to another program; sockets go other ways."""
        given = {"NOTIFY_SOCKET": self.notify_socket} if self.notify_socket else {}
        if self.watchdog_s:
            given["WATCHDOG_USEC"] = str(round(self.watchdog_s * 1e6))
        return given

    def close(self) -> None:
        """Let go of sockets that nobody has taken over."""
        for one in self.sockets:
            one.close()


def take_handover(
    environment: MutableMapping[str, str], pid: int, first_fd: int = _FIRST_FD
) -> Handover:
    """Read what was handed to the process `pid`, and remove it from `environment`.

    Raises:
        SettingsError: a descriptor is no TCP socket that listens, or is meant for something else.

    """
    given = {name: environment.pop(name, "") for name in VARIABLES}
    ours = given["WATCHDOG_PID"] in ("", str(pid))
    watchdog_us = _whole(given["WATCHDOG_USEC"]) if ours else 0
    count = _whole(given["LISTEN_FDS"]) if given["LISTEN_PID"] == str(pid) else 0
    names = given["LISTEN_FDNAMES"].split(":") if given["LISTEN_FDNAMES"] else []
    with contextlib.ExitStack() as failed:
        sockets = []
        for number in range(count):
            name = names[number] if number < len(names) else "unknown"
            one = failed.enter_context(_listener(first_fd + number, name))
            sockets.append(one)
        failed.pop_all()
    return Handover(given["NOTIFY_SOCKET"], watchdog_us / 1e6, tuple(sockets))


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _listener(fd: int, name: str) -> socket.socket:
    where = f"systemd handed over descriptor {fd} ({name})"
    if name not in _HTTP_NAMES and not name.endswith(".socket"):
        raise SettingsError(f"{where}: only sockets with FileDescriptorName=http are known")
    try:
        one = socket.socket(fileno=fd)
    except OSError as error:
        raise SettingsError(f"{where}: not a socket: {error.strerror}") from error
    one.set_inheritable(False)
    if (
        one.family not in (socket.AF_INET, socket.AF_INET6)
        or one.type != socket.SOCK_STREAM
        or not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        one.close()
        raise SettingsError(f"{where}: not a TCP socket that listens (ListenStream=, Accept=no)")
    return one
