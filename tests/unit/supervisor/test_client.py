"""The command line's client: what it says when the server says no, or is none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supervisor.client import AdminClient, CallRefusedError, ServerUnreachableError
from supervisor.errors import SettingsError

Start = Callable[[bytes], AdminClient]


@pytest.fixture
def answering() -> Iterator[Start]:
    """Answer one call with these bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answer_once(answer: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            while b"\r\n\r\n" not in connection.recv(1 << 16):
                pass
            connection.sendall(answer)

    def start(answer: bytes) -> AdminClient:
        threads.append(threading.Thread(target=answer_once, args=(answer,)))
        threads[-1].start()
        return AdminClient(f"http://127.0.0.1:{listener.getsockname()[1]}/")

    with listener:
        yield start
        for thread in threads:
            thread.join(10)


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
def test_a_unix_socket_is_called_with_the_token(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must not be asked
    heard: list[bytes] = []
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = f"{folder}/admin.sock"
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(1 << 16))
                connection.sendall(http("200 OK", b'{"ready": true}'))

        thread = threading.Thread(target=answer)
        thread.start()
        assert AdminClient(form.format(path), "secret").call("GET", "/x") == {"ready": True}
        thread.join(10)
    assert heard[0].startswith(b"GET /x HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in heard[0]


def test_a_refusal_for_want_of_a_token_says_how_to_give_it(answering: Start) -> None:
    client = answering(http("401 Unauthorized", b'{"error": "no"}'))
    with pytest.raises(CallRefusedError, match=r"^no; give the token with --token-file"):
        client.call("GET", "/x")


@pytest.mark.parametrize("what", ["ca", "certificate"])
def test_files_for_tls_must_be_some(what: str, tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    for write in (lambda: None, lambda: file.write_text("nonsense")):
        write()
        with pytest.raises(SettingsError, match="holds no PEM certificate"):
            AdminClient("https://localhost", **{what: str(file)})


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_an_answer_is_a_json_object(answering: Start) -> None:
    assert answering(http("200 OK", b'{"ready": true}')).call("GET", "/x") == {"ready": True}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http("404 Not Found", b'{"error": "no such model"}'), "no such model"),
        (http("502 Bad Gateway", b"<html>"), "the server answered 502 Bad Gateway"),
        (http("503 Unavailable", b"[]"), "the server answered 503 Unavailable"),
        (http("500 Oh", b'{"detail": 1}'), "the server answered 500 Oh"),
    ],
)
def test_a_refusal_tells_its_reason(answering: Start, answer: bytes, reason: str) -> None:
    with pytest.raises(CallRefusedError) as caught:
        answering(answer).call("POST", "/x")
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", b"<html>"),
        http("200 OK", b"[1]"),
        b"",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
    ],
    ids=["no JSON", "no object", "nothing", "another protocol", "cut off"],
)
def test_what_is_not_hotpaddle_is_said_to_be_none(answering: Start, answer: bytes) -> None:
    with pytest.raises(ServerUnreachableError, match=r"no Hotpaddle answers at|is not Hotpaddle"):
        answering(answer).call("GET", "/x")


def test_nobody_listening_is_told_with_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ServerUnreachableError, match=f"no Hotpaddle answers at {url}"):
            AdminClient(url).call("GET", "/x")


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://x", "file:///etc/passwd"])
def test_only_http_addresses_are_taken(url: str) -> None:
    with pytest.raises(
        ServerUnreachableError, match="must start with http:// or https://, or be unix:PATH"
    ):
        AdminClient(url)


def test_an_address_with_a_bad_port_is_no_traceback() -> None:
    with pytest.raises(ServerUnreachableError, match="no Hotpaddle answers"):
        AdminClient("http://127.0.0.1:80a").call("GET", "/x")
