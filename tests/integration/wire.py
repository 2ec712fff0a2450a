"""One connection to a server, byte by byte: for what no HTTP client would send.

Owns a socket and the reading of answers from it, one after the other. Never repairs what it sends.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from tests.harness import Answer, Server


class Wire:
    """One TCP connection."""

    def __init__(self, server: Server, timeout_s: float = 30.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout_s)
        self._reader = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def send(self, data: bytes) -> Wire:
        self.socket.sendall(data)
        return self

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Wire:
        """Send a request with a Content-Length."""
        return self.send(
            head(method, path, {"Content-Length": str(len(body)), **(headers or {})}) + body
        )

    def answer(self, *, bodyless: bool = False) -> Answer:
        """Read one answer; `bodyless` for one to HEAD, or an interim one."""
        line = self._reader.readline()
        assert line.startswith(b"HTTP/1."), line
        headers: dict[str, str] = {}
        while (field := self._reader.readline().strip()) != b"":
            name, _, value = field.decode().partition(":")
            headers[name.strip()] = value.strip()
        length = 0 if bodyless else int(headers.get("Content-Length", "0"))
        return Answer(int(line.split()[1]), headers, self._reader.read(length))

    def closed(self) -> bool:
        """Wait until the server has closed, without having said more."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True


def head(method: str, path: str, headers: dict[str, str]) -> bytes:
    """Build a request's head."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
