"""The operators' unix socket: a listening socket with a name in the file system.

Owns the file: a stale one is replaced, what is no socket is left alone, and it goes when the server
does. The file's permissions say who may connect. Runs in the supervisor, at start and stop.
"""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from supervisor.access.settings import AccessSettings
from supervisor.errors import SettingsError

_BACKLOG: Final = 128
_TRY_S: Final = 1.0  # a server that lives accepts at once: the kernel does it


class AdminSocket:
    """The listening socket."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        """Take a socket over that listens.

        Raises:
            OSError: its file is not there.

        """
        self.path = path
        self.sock = sock
        self._file = path.stat()

    @classmethod
    def listen(cls, path: str, mode: int, group: str) -> Self:
        """Bind and listen.

        Raises:
            SettingsError: the path, its mode or its group cannot be had.

        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(sock, Path(path), mode, _group(group))
            return cls(Path(path), sock)
        except OSError as error:  # a path that is too long has no strerror
            sock.close()
            raise SettingsError(
                f"admin_socket = {path!r}: cannot listen there: {error.strerror or error}"
            ) from error
        except SettingsError:
            sock.close()
            raise

    def remove(self) -> None:
        """Listen no more, and remove the file, unless another has taken its place."""
        self.sock.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(self.path.lstat(), self._file):
                self.path.unlink()


def _bind(sock: socket.socket, path: Path, mode: int, gid: int | None) -> None:
    _make_room(path)
    sock.setblocking(False)
    sock.bind(str(path))
    # Nobody can connect before it listens, so that no wider permissions ever count.
    path.chmod(mode)
    if gid is not None:
        os.chown(path, -1, gid)
    sock.listen(_BACKLOG)


def listen_for_operators(
    settings: AccessSettings, handed: Sequence[socket.socket] = ()
) -> AdminSocket | None:
    """Listen where the settings say; None where they say nothing, or what `handed` does already.

    Raises:
        SettingsError: that cannot be.

    """
    path = settings.admin_socket
    there = {os.path.realpath(one.getsockname()) for one in handed}
    if not path or os.path.realpath(path) in there:
        return None
    mode = int(settings.admin_socket_mode, 8)
    return AdminSocket.listen(path, mode, settings.admin_socket_group)


def _group(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise SettingsError(f"admin_socket_group = {name!r}: there is no such group") from error


def _make_room(path: Path) -> None:
    """Remove the socket that a server left which did not end in order."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SettingsError(f"admin_socket = {str(path)!r}: there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TRY_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise SettingsError(f"admin_socket = {str(path)!r}: another server listens there")
