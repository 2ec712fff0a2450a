"""The other end of a connection: requests to the bench's model, and what comes back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson

from supervisor.http.codec.decoded import HEADER_LENGTH
from tests.unit.supervisor.http.codec.requests import Array
from tests.unit.supervisor.http.loops import until

PATH = "/v2/models/m/infer"


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        text: str = orjson.loads(self.body)["error"]
        return text

    @property
    def y(self) -> list[float]:
        """The numbers of the one output, in either form."""
        length = self.headers.get(HEADER_LENGTH.lower())
        if length is not None:
            data = np.frombuffer(self.body[int(length) :], "<f4")
            return [float(number) for number in data]
        found: list[float] = orjson.loads(self.body)["outputs"][0]["data"]
        return found


def numbers(seed: int, rows: int = 1) -> Array:
    """Give an input that no other seed has."""
    return (np.arange(rows * 4, dtype="<f4") + 1000 * seed).reshape(rows, 4)


def y_of(x: Array) -> Array:
    """What the model makes of an input."""
    y: Array = x[:, :2] + x[:, 2:]
    return y


def ask(
    x: Array,
    *lines: str,
    binary: bool = True,
    path: str = PATH,
    version: str = "1.1",
    more: Any = None,
) -> bytes:
    """Write a request."""
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": list(x.shape)}
    header: dict[str, Any] = {"inputs": [tensor], **(more or {})}
    data = b""
    if binary:
        tensor["parameters"] = {"binary_data_size": x.nbytes}
        header["parameters"] = {**header.get("parameters", {}), "binary_data_output": True}
        data = x.tobytes()
    else:
        tensor["data"] = x.ravel().tolist()
    json = orjson.dumps(header)
    if binary:
        lines = (*lines, f"{HEADER_LENGTH}: {len(json)}")
    return http("POST", path, json + data, *lines, version=version)


def http(method: str, path: str, body: bytes = b"", *lines: str, version: str = "1.1") -> bytes:
    if body:
        lines = (*lines, f"Content-Length: {len(body)}")
    head = "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *lines])
    return head.encode() + b"\r\n\r\n" + body


def chunked(request: bytes) -> bytes:
    """Send a request in a form that only aiohttp reads."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    lines.append(b"Transfer-Encoding: chunked")
    return b"\r\n".join(lines) + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


class Watched(Protocol):
    """How far the server's end is."""

    received: int
    pauses: int


class Client:
    """The other end."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, its: Watched
    ) -> None:
        self.reader, self.writer, self.its = reader, writer, its

    async def send(self, data: bytes) -> None:
        """Send, and wait until the server has taken all of it."""
        wanted = self.its.received + len(data)
        self.writer.write(data)
        await until(lambda: self.its.received >= wanted)

    async def answer(self) -> Answer:
        """Read one response."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
            }
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return Answer(int(status.split()[1]), headers, body)

    async def ask(self, request: bytes) -> Answer:
        self.writer.write(request)
        return await self.answer()

    async def ended(self) -> bytes:
        """Read to the end."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    def leave(self) -> None:
        self.writer.transport.abort()
