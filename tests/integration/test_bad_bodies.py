"""Bodies that are too large, too slow, broken or cut off: each is refused, and harms nothing."""

from __future__ import annotations

import gzip
import json
import re
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.integration.tensors import HEADER_LENGTH, binary_body, binary_tensor
from tests.integration.wire import Wire, head

INFER = "/v2/models/mlp/infer"
ROW = np.arange(16, dtype="float32").reshape(1, 16)
BODY = json.dumps(mlp_request()).encode()
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    shared_repository.publish("mlp", "v1", models.mlp(1))
    shared_repository.publish("multi", "v1", models("multi_pdmodel")[0])
    return share("--max-request-mb", "1", "--arena-mb", "16", "--body-timeout-ms", "500")


@pytest.fixture(autouse=True)
def _unharmed(server: Server, assert_right: Callable[[Server], None]) -> Any:
    """See after each test that the server answers right and holds nothing of what was sent."""
    yield
    assert_right(server)
    wait_for(lambda: server.admin()["arena"]["lent_slots"] == 0, "all slots are home")


def binary(size: Any = 64, **more: Any) -> dict[str, Any]:
    return {
        "inputs": [{**binary_tensor("x", ROW), "parameters": {"binary_data_size": size}, **more}]
    }


# A header, the bytes behind it, and what the error says.
BINARY: dict[str, tuple[Any, int, str]] = {
    "size too large": (binary(65), 65, "'x': binary_data_size is 65, FP32 of shape .* takes 64"),
    "size too small": (binary(63), 63, "'x': binary_data_size is 63"),
    "size zero": (binary(0), 0, "'x': binary_data_size is 0"),
    "size negative": (binary(-64), 64, "'x': binary_data_size is -64"),
    "size text": (binary("64"), 64, "'x': binary_data_size is '64'"),
    "size fraction": (binary(64.0), 64, "'x': binary_data_size is 64.0"),
    "size boolean": (binary(size=True), 1, "'x': binary_data_size is True"),
    "size list": (binary([64]), 64, r"'x': binary_data_size is \[64\]"),
    "size over 64 bits": (binary(2**64 - 1), 64, "'x': binary_data_size is 18446744073709551615"),
    "body too short": (binary(), 63, "'x': the binary data ends after 63 bytes"),
    "body without data": (binary(), 0, "'x': the binary data ends after 0 bytes"),
    "trailing byte": (binary(), 65, "the body has 65 bytes of binary data, .* add up to 64"),
    "data behind JSON": (mlp_request(), 64, "the body has 64 bytes of binary data, .* up to 0"),
    "data as well": (binary(data=[0] * 16), 64, "'x' has both 'data' and 'binary_data_size'"),
    "shape overflows": (binary(64, shape=[2**60 + 1, 16]), 64, "'x': shape .* asks for"),
    "shape larger than body": (binary(2**36, shape=[2**30, 16]), 64, "'x': the binary data ends"),
    "shape over all limits": (binary(2**46, shape=[2**40, 16]), 64, "'x': shape .* asks for"),
}


@pytest.mark.parametrize(("header", "size", "text"), BINARY.values(), ids=list(BINARY))
def test_binary_sizes_must_add_up(header: Any, size: int, text: str, server: Server) -> None:
    body, headers = binary_body(header, bytes(size))
    answer = server.call("POST", INFER, body, headers)
    assert answer.status == 400
    assert re.search(text, answer.error), answer.error


HEADER_LENGTHS: dict[str, tuple[str, str]] = {
    "beyond the body": (str(len(BODY) + 1), f"is {len(BODY) + 1}, the body has only {len(BODY)}"),
    "far beyond": ("999999999999", "is 999999999999, the body has only"),
    "over 64 bits": ("9" * 30, "must be a number of bytes, not '9999"),
    "negative": ("-1", "must be a number of bytes, not '-1'"),
    "signed": ("+5", "must be a number of bytes"),
    "text": ("many", "must be a number of bytes, not 'many'"),
    "hexadecimal": ("0x10", "must be a number of bytes"),
    "fraction": ("10.0", "must be a number of bytes"),
    "exponent": ("1e2", "must be a number of bytes"),
    "empty": ("", "must be a number of bytes"),
    "superscript": ("\xb2", "must be a number of bytes"),
    "list": ("1, 1", "must be a number of bytes"),
    "within the JSON": (str(len(BODY) - 1), "the body is not JSON"),
    "raw of a wrong size": ("0", "'x': a raw body of .* bytes is no FP32 of shape"),
}


@pytest.mark.parametrize(("value", "text"), HEADER_LENGTHS.values(), ids=list(HEADER_LENGTHS))
def test_the_header_length_must_be_right(value: str, text: str, server: Server) -> None:
    answer = server.call("POST", INFER, BODY, {HEADER_LENGTH: value})
    assert answer.status == 400
    assert re.search(text, answer.error), answer.error


def test_a_raw_body_takes_a_model_with_one_input(server: Server) -> None:
    answer = server.call("POST", "/v2/models/multi/infer", bytes(64), {HEADER_LENGTH: "0"})
    assert (answer.status, "this has 8" in answer.error) == (400, True)


ZIPPED = gzip.compress(BODY)
BOMB = gzip.compress(bytes(200 * MEGABYTE))
ENCODED: dict[str, tuple[str, bytes, int, str]] = {
    "gzip bomb": ("gzip", BOMB, 413, "larger than 1048576 bytes .max_request_mb"),
    "deflate bomb": ("deflate", zlib.compress(bytes(50 * MEGABYTE)), 413, "larger than 1048576"),
    "gzip truncated": ("gzip", ZIPPED[:-20], 400, "ends in the middle of its gzip encoding"),
    "gzip without checksum": ("gzip", ZIPPED[:-8], 400, "ends in the middle of its gzip"),
    "deflate truncated": ("deflate", zlib.compress(BODY)[:-8], 400, "ends in the middle"),
    "gzip empty": ("gzip", b"", 400, "ends in the middle"),
    "gzip of nothing": ("gzip", gzip.compress(b""), 400, "the body is empty"),
    "garbage": ("gzip", b"\x8b\x1f" + bytes(100), 400, "Content-Encoding is broken"),
    "not encoded": ("gzip", BODY, 400, "Content-Encoding is broken"),
    "wrong checksum": ("gzip", ZIPPED[:-5] + b"\0" * 5, 400, "Content-Encoding is broken"),
    "deflate as gzip": ("gzip", zlib.compress(BODY), 400, "Content-Encoding is broken"),
    "trailing bytes": ("gzip", ZIPPED + b"xx", 400, "goes on behind the end"),
    "two members": ("gzip", ZIPPED + ZIPPED, 400, "goes on behind the end"),
    "brotli": ("br", BODY, 415, "Content-Encoding 'br' is not read here"),
    "two encodings": ("gzip, gzip", gzip.compress(ZIPPED), 415, "'gzip, gzip' is not read here"),
    "long name": ("z" * 5000, BODY, 415, "is not read here"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "body", "status", "text"), ENCODED.values(), ids=list(ENCODED)
)
def test_bad_encodings_are_refused(
    encoding: str, body: bytes, status: int, text: str, server: Server
) -> None:
    answer = server.call("POST", INFER, body, {"Content-Encoding": encoding})
    assert (answer.status, bool(re.search(text, answer.error))) == (status, True), answer


@pytest.mark.parametrize("method", ["gzip", "deflate"])
def test_an_encoded_body_may_come_in_small_pieces(method: str, server: Server) -> None:
    body = ZIPPED if method == "gzip" else zlib.compress(BODY)
    with Wire(server) as wire:
        wire.send(head("POST", INFER, {"Content-Encoding": method, **CHUNKED}))
        for byte in body:
            wire.send(chunk(bytes([byte])))
        assert wire.send(chunk(b"")).answer().status == 200


CHUNKED = {"Transfer-Encoding": "chunked"}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_a_body_may_come_in_a_thousand_chunks(server: Server) -> None:
    rows = json.dumps(mlp_request(rows=100)).encode().ljust(10_000)
    with Wire(server) as wire:
        wire.send(head("POST", INFER, CHUNKED))
        for at in range(0, len(rows), 10):
            wire.send(chunk(rows[at : at + 10]))
        answer = wire.send(chunk(b"")).answer()
    assert answer.status == 200
    assert answer.json()["outputs"][0]["shape"] == [100, 4]


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    with Wire(server) as wire:
        wire.send(head("POST", INFER, {"Content-Length": str(MEGABYTE + 1)}))
        answer = wire.answer()
    assert (answer.status, "has 1048577 bytes, at most 1048576" in answer.error) == (413, True)


@pytest.mark.parametrize("length", [str(2**40), str(2**63), "9" * 40])
def test_a_declared_length_may_be_absurd(length: str, server: Server) -> None:
    with Wire(server) as wire:
        status = wire.send(head("POST", INFER, {"Content-Length": length})).answer().status
    assert status in (400, 413)  # 400 where the parser of HTTP cannot hold the number


def test_a_body_of_the_largest_size_is_taken(server: Server) -> None:
    body = json.dumps(mlp_request()).encode().ljust(MEGABYTE)
    assert server.call("POST", INFER, body).status == 200
    assert server.call("POST", INFER, body + b" ").status == 413


def test_a_chunked_body_is_refused_where_it_becomes_too_large(server: Server) -> None:
    with Wire(server) as wire:
        wire.send(head("POST", INFER, CHUNKED))
        for _ in range(17):
            wire.send(chunk(b" " * (1 << 16)))
        answer = wire.answer()
    assert (answer.status, "larger than 1048576 bytes" in answer.error) == (413, True)


def test_a_small_call_takes_no_large_body(server: Server) -> None:
    for path in ("/v2/repository/index", "/admin/reload", "/v2/repository/models/mlp/load"):
        answer = server.call("POST", path, b" " * MEGABYTE)
        assert (answer.status, "262144 bytes at most" in answer.error) == (413, True)


def test_a_slow_body_times_out(server: Server) -> None:
    with Wire(server) as wire:
        wire.send(head("POST", INFER, {"Content-Length": str(len(BODY))}))
        for at in range(4):
            wire.send(BODY[at : at + 1])
            time.sleep(0.1)
        answer = wire.answer()
    assert answer.status == 408
    assert re.search(r"within 0.5 s \(body_timeout_ms\); 4 bytes did", answer.error)


def test_a_client_that_goes_leaves_nothing(server: Server) -> None:
    for sent in (0, 1, len(BODY) // 2, len(BODY) - 1):
        with Wire(server) as wire:
            wire.send(head("POST", INFER, {"Content-Length": str(len(BODY))}) + BODY[:sent])
    with Wire(server) as wire:
        wire.send(head("POST", INFER, CHUNKED) + chunk(BODY)[:-5])
    with Wire(server) as wire:
        wire.request("POST", INFER, BODY)  # sent, but the answer is not waited for


def test_half_open_clients_do_not_stop_a_good_one(
    server: Server, assert_right: Callable[[Server], None]
) -> None:
    whole = head("POST", INFER, {"Content-Length": str(len(BODY))})
    with ExitStack() as stack:
        for number in range(240):
            sent = (b"", whole[:20], whole[:-2], whole + BODY[:9])[number % 4]
            stack.enter_context(Wire(server)).send(sent)
        for _ in range(20):
            assert_right(server)
    assert server.process.poll() is None
