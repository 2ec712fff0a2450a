"""The least that can answer HTTP: `python -m benchmarks.responder_process BYTES`.

Owns a socket that answers every request with the same bytes, without looking at it. Generators are
measured against it: what they reach here is what they can tell of a server. Writes its port as the
first line of its output and runs until it is ended. A process of its own.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class Responder(asyncio.Protocol):
    """Counts the bytes of a request's body and answers."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._missing = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer when the body is complete; a head comes in one piece from our generators."""
        if self._missing == 0:
            end = data.find(b"\r\n\r\n")
            at = data[:end].lower().find(b"\r\ncontent-length:")
            length = int(data[at + 17 : data.find(b"\r\n", at + 2)])
            self._missing = end + 4 + length
        self._missing -= len(data)
        if self._missing == 0 and self._transport is not None:
            self._transport.write(self._answer)


async def _serve(size: int) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nX-Model-Version: v1\r\nX-Model-Generation: 1\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size
    ) + bytes(size)
    server = await asyncio.get_running_loop().create_server(
        lambda: Responder(answer), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
