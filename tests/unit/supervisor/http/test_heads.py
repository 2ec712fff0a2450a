"""Heads: which requests are simple enough for the fast path, and where each one ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.http.codec.decoded import HEADER_LENGTH
from supervisor.http.heads import LARGEST_HEAD, UNKNOWN, Head, Heads
from tests.unit.supervisor.http.loops import run

INFER = "/v2/models/m/infer"


def head(
    *lines: str, method: str = "POST", path: str = INFER, version: str = "1.1", length: str = "9"
) -> bytes:
    listed = [f"{method} {path} HTTP/{version}", "Host: x", *lines]
    if length:
        listed.append(f"Content-Length: {length}")
    return "\r\n".join([*listed, "", ""]).encode()


async def read(data: bytes) -> Head:
    heads = Heads()
    found = heads.read(data)
    assert heads.read(data) == found
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (head(), Head(9, True, "m")),
        (head(length="16777216"), Head(16777216, True, "m")),
        (head(path="/v2/models/m/versions/v1/infer"), Head(9, True, "m", "v1")),
        (head(f"{HEADER_LENGTH}: 5"), Head(9, True, "m", None, 5)),
        (head(f"{HEADER_LENGTH.lower()}: 0"), Head(9, True, "m", None, 0)),
        (head(f"{HEADER_LENGTH}:  00012 "), Head(9, True, "m", None, 12)),
        (head("Connection: close"), Head(9, True, "m", keep_alive=False)),
        (head("connection: Close"), Head(9, True, "m", keep_alive=False)),
        (head("Connection: keep-alive"), Head(9, True, "m")),
        (head("Content-Encoding: identity"), Head(9, True, "m")),
        (head("Content-Encoding: IDENTITY"), Head(9, True, "m")),
        (head("Content-Encoding: "), Head(9, True, "m")),
        (head("Accept-Encoding: gzip", "Content-Type: text/plain"), Head(9, True, "m")),
        (head(path="/v2/models/a%20b/infer"), Head(9, True, "a b")),
        (head(path="/v2/models/a%2Fb/infer"), Head(9, True, "a/b")),
        (head(path="/v2/models/%2E%2E/infer"), Head(9, True, "..")),
        (head(path="/v2/models/m/versions/v%201/infer"), Head(9, True, "m", "v 1")),
        (head(path="/v2/models//infer"), Head(9, True, "")),
        (head(path="/v2/models/versions/infer"), Head(9, True, "versions")),
    ],
)
async def test_plain_inferences_are_fast(data: bytes, expected: Head) -> None:
    assert await read(data) == expected


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (head(method="GET", length=""), 0),
        (head(method="PUT"), 9),
        (head(length="0"), 0),
        (head(length=""), 0),
        (head(version="1.0"), 9),
        (head("Connection: keep-alive", version="1.0"), 9),
        (head("Expect: 100-continue"), 9),
        (head("Content-Encoding: gzip"), 9),
        (head("Content-Encoding: deflate"), 9),
        (head("Content-Encoding: identity, gzip"), 9),
        (head(f"{HEADER_LENGTH}: x"), 9),
        (head(f"{HEADER_LENGTH}: -1"), 9),
        (head(f"{HEADER_LENGTH}: "), 9),
        (head(f"{HEADER_LENGTH}: 1.0"), 9),
        (head(f"{HEADER_LENGTH}: 1234567890123"), 9),
        (head(path=INFER + "?a=b"), 9),
        (head(path=INFER + "?"), 9),
        (head(path=INFER + "/"), 9),
        (head(path="/" + INFER), 9),
        (head(path="/v2/models/m/load"), 9),
        (head(path="/v2/models/m/versions/infer"), 9),
        (head(path="/v2/models/m/versions/v1/x/infer"), 9),
        (head(path="/v2/models/a/b/infer"), 9),
        (head(path="/V2/models/m/infer"), 9),
        (head(path="http://x/v2/models/m/infer"), 9),
        (b"POST /v2/models/m/infer\r\n\r\n", 0),
    ],
)
async def test_others_are_slow_and_their_length_is_known(data: bytes, length: int) -> None:
    assert await read(data) == Head(length)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"garbage\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
        head(path="*"),
        b"POST /v2/models/m/infer HTTP/9.9\r\n\r\n",
        head("Transfer-Encoding: chunked", length=""),
        head("Transfer-Encoding: chunked"),
        head("Transfer-Encoding: gzip, chunked", length=""),
        head("Transfer-Encoding: identity"),
        head(length="-1"),
        head(length="+9"),
        head(length="0x9"),
        head(length="9_0"),
        head(length="9, 9"),
        head("Content-Length: 8"),
        head("Content-Length: 9"),
        head(" Content-Length: 9", length=""),
        head("Content-Length : 9", length=""),
        head("no colon"),
        head("X: a\0b"),
        head("X: " + "y" * LARGEST_HEAD),
        head(method="CONNECT", path="x:1", length=""),
        head("Connection: Upgrade", "Upgrade: websocket", method="GET", length=""),
        head() + head(),
        head()[:-2],
        head(length="9" * 30),
    ],
)
async def test_what_only_aiohttp_can_tell_is_unknown(data: bytes) -> None:
    assert await read(data) == UNKNOWN


async def test_a_head_is_parsed_once_and_long_ones_each_time() -> None:
    heads = Heads()
    assert heads.read(head()) is heads.read(head())
    long = head("X: " + "y" * 3000)
    assert heads.read(long) == heads.read(long)
    assert heads.read(long) is not heads.read(long)


async def test_any_number_of_heads_is_read_and_few_are_kept() -> None:
    heads = Heads()
    for number in range(2048 + 100):
        assert heads.read(head(path=f"/v2/models/m{number}/infer")).model == f"m{number}"
        assert len(heads._known) <= 2048  # noqa: SLF001 - nothing else shows it


@given(st.binary(max_size=100), st.integers(0, 60))
def test_any_bytes_are_read_or_unknown(data: bytes, cut: int) -> None:
    async def read_all() -> None:
        for one in (data + b"\r\n\r\n", head()[:cut] + data + head()[cut:]):
            found = await read(one)
            assert found.length >= -1
            assert not found.fast or (found.length > 0 and found.model)

    run(read_all())
