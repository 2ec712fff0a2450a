"""Connections: kept, pipelined, closed, and what is no HTTP or no path of ours."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable

import pytest

from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request
from tests.integration.wire import Wire, head

INFER = "/v2/models/mlp/infer"
BODY = json.dumps(mlp_request()).encode()


@pytest.fixture(scope="module")
def server(share: Callable[..., Server], shared_repository: Repository, models: Models) -> Server:
    shared_repository.publish("mlp", "v1", models.mlp(1))
    return share()


def test_a_connection_is_kept(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    sockets = set()
    for value, status in ((BODY, 200), (b"{", 400), (BODY, 200), (BODY, 200)):
        connection.request("POST", INFER, value)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        sockets.add(connection.sock)
    assert len(sockets) == 1
    connection.close()


def test_pipelined_requests_are_answered_in_order(
    server: Server, assert_right: Callable[[Server], None]
) -> None:
    def whole(number: int) -> bytes:
        body = json.dumps({**mlp_request([float(number)] * 16), "id": str(number)}).encode()
        return head("POST", INFER, {"Content-Length": str(len(body))}) + body

    alone = [server.infer("mlp", mlp_request([float(n)] * 16)).json()["outputs"] for n in range(5)]
    with Wire(server) as wire:
        wire.send(b"".join(whole(number) for number in range(5)))
        for number in range(5):
            answer = wire.answer().json()
            assert (answer["id"], answer["outputs"]) == (str(number), alone[number])
    assert_right(server)


def test_expect_continue(server: Server) -> None:
    expect = {"Expect": "100-continue", "Content-Length": str(len(BODY))}
    with Wire(server) as wire:
        assert wire.send(head("POST", INFER, expect)).answer(bodyless=True).status == 100
        assert wire.send(BODY).answer().status == 200
    large = {**expect, "Content-Length": str(1 << 40)}
    for path, headers, status in ((INFER, large, 413), ("/v2/models/nobody/infer", expect, 404)):
        with Wire(server) as wire:
            assert wire.send(head("POST", path, headers)).answer().status == status


def test_connection_close_is_heeded(server: Server) -> None:
    with Wire(server) as wire:
        assert wire.request("GET", "/v2", headers={"Connection": "close"}).answer().status == 200
        assert wire.closed()


BAD_NAMES = {
    "parent": "..",
    "parent encoded": "%2e%2e",
    "path encoded": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "path": "../../../etc/passwd",
    "path of backslashes": "..%5c..%5cetc",
    "twice encoded": "%252e%252e%252f",
    "zero byte": "mlp%00",
    "zero bytes": "%00%00",
    "line end": "mlp%0d%0aX-Evil:%201",
    "not UTF-8": "m%FFlp",
    "broken escape": "%zz",
    "empty": "",
    "blank": "%20",
    "long": "m" * 5000,
    "format": "{model}",
    "markup": "%3Cscript%3E",
    "emoji": "%F0%9F%98%80",
}


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=list(BAD_NAMES))
def test_bad_names_are_models_and_versions_that_nobody_has(
    name: str, server: Server, assert_right: Callable[[Server], None]
) -> None:
    for method, path in (
        ("GET", f"/v2/models/{name}/ready"),
        ("POST", f"/v2/models/{name}/infer"),
        ("GET", f"/v2/models/mlp/versions/{name}/ready"),
        ("POST", f"/v2/models/mlp/versions/{name}/infer"),
        ("POST", f"/v2/repository/models/{name}/load"),
        ("POST", f"/v2/repository/models/{name}/unload"),
        ("GET", f"/admin/models/{name}"),
    ):
        if method == "GET" and path.endswith("/"):
            continue  # that is the list
        answer = server.call(method, path, b"{}" if method == "POST" else None)
        assert answer.status == 404, (path, answer)
        assert answer.json().keys() == {"error"}
        assert len(answer.body) < 12_000
        assert "X-Evil" not in answer.headers
    assert_right(server)


MALFORMED = {
    "method": b"BREW /v2 HTTP/1.1\r\nHost: x\r\n\r\n",
    "version": b"GET /v2 HTTP/7.1\r\nHost: x\r\n\r\n",
    "text": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "header": b"GET /v2 HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    "two lengths": b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\n",
    "negative length": b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"POST /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "long line": b"GET /v2/" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "long header": b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 10_000 + b"\r\n",
    "target": b"POST * HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /v2 HTTP/1.1\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=list(MALFORMED))
def test_what_is_no_http_is_told_and_closed(
    sent: bytes, server: Server, assert_right: Callable[[Server], None]
) -> None:
    with Wire(server) as wire:
        answer = wire.send(sent).answer()
        assert answer.status == 400
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.error.startswith("malformed HTTP: ")
        assert len(answer.error) <= 300
        assert wire.closed()
    assert_right(server)


def test_bad_chunks_are_told(server: Server, assert_right: Callable[[Server], None]) -> None:
    with Wire(server) as wire:
        wire.send(head("POST", INFER, {"Transfer-Encoding": "chunked"}) + b"zz\r\n{}\r\n0\r\n\r\n")
        answer = wire.answer()
    assert answer.status == 400
    assert answer.json().keys() == {"error"}
    assert_right(server)
