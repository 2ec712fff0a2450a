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
_ADMIN_NAME: Final = "admin"
VARIABLES: Final = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Handover:
    """What there is; nothing where the server was not started by systemd."""

    notify_socket: str = ""  # a path, or @NAME in the abstract namespace
    watchdog_s: float = 0.0  # 0: nobody watches
    sockets: tuple[socket.socket, ...] = ()  # for HTTP over TCP; they listen already
    admin_sockets: tuple[socket.socket, ...] = ()  # for operators; so do these

    def environment(self) -> dict[str, str]:
        """Give the variables that say so to another program; sockets go other ways."""
        given = {"NOTIFY_SOCKET": self.notify_socket} if self.notify_socket else {}
        if self.watchdog_s:
            given["WATCHDOG_USEC"] = str(round(self.watchdog_s * 1e6))
        return given

    def close(self) -> None:
        """Let go of sockets that nobody has taken over."""
        for one in (*self.sockets, *self.admin_sockets):
            one.close()


def take_handover(
    environment: MutableMapping[str, str], pid: int, first_fd: int = _FIRST_FD
) -> Handover:
    """Read what was handed to the process `pid`, and remove it from `environment`.

    Raises:
        SettingsError: a descriptor is no socket that listens as its name says, or is meant for
            something else.

    """
    given = {name: environment.pop(name, "") for name in VARIABLES}
    ours = given["WATCHDOG_PID"] in ("", str(pid))
    watchdog_us = _whole(given["WATCHDOG_USEC"]) if ours else 0
    count = _whole(given["LISTEN_FDS"]) if given["LISTEN_PID"] == str(pid) else 0
    names = given["LISTEN_FDNAMES"].split(":") if given["LISTEN_FDNAMES"] else []
    with contextlib.ExitStack() as failed:
        taken: list[tuple[str, socket.socket]] = []
        for number in range(count):
            name = names[number] if number < len(names) else "unknown"
            one = failed.enter_context(_listener(first_fd + number, name))
            taken.append((name, one))
        failed.pop_all()
    return Handover(
        given["NOTIFY_SOCKET"],
        watchdog_us / 1e6,
        tuple(one for name, one in taken if name != _ADMIN_NAME),
        tuple(one for name, one in taken if name == _ADMIN_NAME),
    )


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def _listener(fd: int, name: str) -> socket.socket:
    where = f"systemd handed over descriptor {fd} ({name})"
    if name not in (*_HTTP_NAMES, _ADMIN_NAME) and not name.endswith(".socket"):
        raise SettingsError(f"{where}: only FileDescriptorName=http and =admin are known")
    try:
        one = socket.socket(fileno=fd)
    except OSError as error:
        raise SettingsError(f"{where}: not a socket: {error.strerror}") from error
    one.set_inheritable(False)
    why_not = _why_not_for_operators(one) if name == _ADMIN_NAME else _why_not_for_http(one)
    if why_not:
        one.close()
        raise SettingsError(f"{where}: {why_not}")
    return one


def _why_not_for_http(one: socket.socket) -> str:
    if one.family in (socket.AF_INET, socket.AF_INET6) and _listens(one):
        return ""
    return "not a TCP socket that listens (ListenStream=, Accept=no)"


def _why_not_for_operators(one: socket.socket) -> str:
    if one.family != socket.AF_UNIX or not _listens(one):
        return "not a unix socket that listens (ListenStream= with a path, Accept=no)"
    if isinstance(one.getsockname(), bytes):  # the abstract namespace knows no permissions
        return "a unix socket without a file, so that anybody might be an operator"
    return ""


def _listens(one: socket.socket) -> bool:
    return one.type == socket.SOCK_STREAM and bool(
        one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    )
