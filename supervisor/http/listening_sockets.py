"""The listening sockets: one set for each front.

Owns how an address becomes sockets. Several fronts share one port through SO_REUSEPORT: the kernel
gives each new connection to one of their sockets. Runs in the supervisor, once at start.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final

from supervisor.errors import SettingsError

BACKLOG: Final = 1024
LARGEST_BACKLOG: Final = 65_535  # for sockets of systemd's: as much as the kernel allows


def listen(host: str, port: int, fronts: int) -> list[list[socket.socket]]:
    """Listen on an address, with sockets of its own for each of `fronts`; port 0 takes a free one.

    Raises:
        SettingsError: the address cannot be listened on.

    """
    opened: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
        if fronts > 1 and port:
            # With SO_REUSEPORT another server on this port would not be noticed.
            for address in addresses:
                _open(*address, opened, shared=False)
            _close(opened)
        listeners: list[list[socket.socket]] = [[] for _ in range(fronts)]
        for sockets in listeners:
            for family, (name, _, *more) in addresses:
                # Whichever port the first one is given, all others take it, too.
                sock = _open(family, (name, port, *more), opened, shared=fronts > 1)
                sockets.append(sock)
                port = port or port_of(sockets)
        for sock in opened:
            sock.listen(BACKLOG)
    except (OSError, UnicodeError) as error:  # some names cannot even be looked up
        _close(opened)
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"cannot listen on {host}:{port}: {reason}") from error
    return listeners


def _open(
    family: int, address: tuple[object, ...], opened: list[socket.socket], *, shared: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    opened.append(sock)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    return sock


def _close(sockets: list[socket.socket]) -> None:
    while sockets:
        sockets.pop().close()


def port_of(sockets: Sequence[socket.socket]) -> int:
    """Give the port that sockets listen on."""
    return int(sockets[0].getsockname()[1])


def urls_of(sockets: Sequence[socket.socket], host: str = "", scheme: str = "http") -> str:
    """Write where sockets listen, as URLs; `host`, if given, stands for their addresses."""
    found = [(host or one.getsockname()[0], one.getsockname()[1]) for one in sockets]
    return ",".join(
        dict.fromkeys(
            f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"
            for name, port in found
        )
    )
