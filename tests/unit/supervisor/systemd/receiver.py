"""The service manager's end: a real datagram socket that sd_notify messages arrive at."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Message = dict[str, str]


class Receiver:
    """Collects messages, in order."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self._seen: list[Message] = []

    def messages(self) -> list[Message]:
        """Give all that came so far."""
        while True:
            try:
                text = self._socket.recv(65536).decode()
            except BlockingIOError:
                return self._seen
            lines = [line.partition("=") for line in text.split("\n")]
            self._seen.append({name: value for name, _, value in lines})

    def having(self, name: str) -> list[Message]:
        """Give the messages that set a variable."""
        return [message for message in self.messages() if name in message]

    @property
    def status(self) -> str:
        """The newest status line."""
        found = self.having("STATUS")
        return found[-1]["STATUS"] if found else ""

    def close(self) -> None:
        self._socket.close()


@contextmanager
def receiver(*, abstract: bool = False) -> Iterator[Receiver]:
    """Listen at a path, or at a name in the abstract namespace."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own paths are longer than allowed
        name = f"@hotpaddle-test-{os.getpid()}-{os.urandom(4).hex()}"
        one = Receiver(name if abstract else str(Path(folder) / "notify"))
        try:
            yield one
        finally:
            one.close()
