"""TLS on the port of real servers: with one front and with two."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from tests.certificates import Authority
from tests.conftest import Models
from tests.harness import ROOT, Repository, Server, mlp_request, wait_for

Serve = Callable[..., Server]
BODY = json.dumps(mlp_request()).encode()
CONNECTIONS = 12  # enough for the kernel to give some to each of two fronts


class Site:
    """A server with TLS, and its authority."""

    def __init__(self, serve: Serve, repository: Repository, folder: Path, *options: str) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.certificate, self.key = self.authority.server()
        self.socket = f"unix:{folder / 'admin.sock'}"
        self.server = serve(
            repository, "--admin-socket", str(folder / "admin.sock"),
            "--tls-certificate", str(self.certificate), "--tls-key", str(self.key), *options,
        ).wait_listening()  # fmt: skip
        wait_for(self.ready, "the server is ready", 120)

    def ready(self) -> bool:
        done = run("status", "--json", "--url", self.socket)
        if done.returncode:
            return False
        return all(front["listening"] for front in json.loads(done.stdout)["fronts"])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    def connect(self, context: ssl.SSLContext | None = None) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self.server.port, timeout=30, context=context or self.authority.context()
        )

    def serial(self) -> Any:
        """Give the serial number of the certificate that a new connection meets."""
        connection = self.connect()
        connection.connect()
        try:
            found: Any = connection.sock.getpeercert()
            return found["serialNumber"]
        finally:
            connection.close()

    def reread(self) -> None:
        self.server.process.send_signal(signal.SIGHUP)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def ask(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> int:
    connection.request("POST" if body else "GET", path, body)
    response = connection.getresponse()
    response.read()
    return response.status


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # a socket's path may have 107 bytes
        yield Path(name)


@pytest.fixture(params=["1", "2"], ids=["one front", "two fronts"])
def site(
    request: pytest.FixtureRequest, serve: Serve, repository: Repository, models: Models,
    folder: Path,
) -> Site:  # fmt: skip
    repository.publish("mlp", "v1", models.mlp(1))
    return Site(serve, repository, folder, "--fronts", request.param)


def test_what_a_tls_port_answers(site: Site) -> None:
    large = json.dumps(mlp_request(rows=4000)).encode()
    for _ in range(CONNECTIONS):
        connection = site.connect()
        assert ask(connection, "/v2/models/mlp/infer", BODY) == 200
        assert ask(connection, "/v2/models/mlp/infer", large) == 200
        assert ask(connection, "/admin/models") == 200  # from loopback
        assert ask(connection, "/v2/models/mlp/infer", BODY) == 200
        connection.close()
    done = run("status", "--url", site.url, "--ca", str(site.authority.ca))
    assert done.returncode == 0, done.stderr
    done = run("status", "--url", site.url)
    assert (done.returncode, "certificate verify failed" in done.stderr) == (1, True)


def test_who_speaks_no_tls_or_an_old_one_is_sent_away(site: Site) -> None:
    for _ in range(CONNECTIONS):
        with socket.create_connection(("127.0.0.1", site.server.port), timeout=30) as plain:
            plain.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                answer = plain.recv(1 << 16)
            except ConnectionResetError:
                answer = b""
            assert not answer.startswith(b"HTTP")
    old = site.authority.context()
    old.set_ciphers("DEFAULT@SECLEVEL=0")  # else the client itself would refuse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"PROTOCOL_VERSION|UNEXPECTED_EOF|reset by peer"):
        site.connect(old).connect()
    assert "Traceback" not in site.server.log()


def test_who_says_nothing_is_sent_away(
    serve: Serve, repository: Repository, models: Models, folder: Path
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    site = Site(serve, repository, folder, "--head-timeout-ms", "300", "--fronts", "2")
    silent = [
        socket.create_connection(("127.0.0.1", site.server.port), 30) for _ in range(CONNECTIONS)
    ]
    for one in silent:
        with one:
            assert one.recv(1) == b""
    assert "Traceback" not in site.server.log()


def test_new_certificates_are_met_by_new_connections(site: Site) -> None:
    before = site.serial()
    kept = [site.connect() for _ in range(CONNECTIONS)]
    for connection in kept:
        assert ask(connection, "/v2/models/mlp/infer", BODY) == 200
    site.authority.server()  # writes the same files
    site.reread()
    wait_for(lambda: before not in {site.serial() for _ in range(CONNECTIONS)}, "the new one")
    after = site.serial()
    for connection in kept:
        assert ask(connection, "/v2/models/mlp/infer", BODY) == 200
        connection.close()
    site.key.write_text("nonsense")
    site.reread()
    wait_for(lambda: site.server.logged("the certificates stay as they were"), "a complaint")
    assert {site.serial() for _ in range(CONNECTIONS)} == {after}
    site.authority.server()
    assert run("reload", "--wait", "--url", site.socket).returncode == 0
    wait_for(lambda: after not in {site.serial() for _ in range(CONNECTIONS)}, "the newest one")


def test_clients_must_show_a_certificate_where_authorities_are_named(
    serve: Serve, repository: Repository, models: Models, folder: Path
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    clients = Authority(folder, "clients")
    site = Site(serve, repository, folder, "--tls-client-ca", str(clients.ca), "--fronts", "2")
    right, wrong = clients.client("right"), site.authority.client("wrong")
    for _ in range(CONNECTIONS):
        connection = site.connect(site.authority.context(right))
        assert ask(connection, "/v2/models/mlp/infer", BODY) == 200
        connection.close()
    for context in (site.authority.context(), site.authority.context(wrong)):
        connection = site.connect(context)
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.BadStatusLine)):
            ask(connection, "/v2/health/live")  # TLS 1.3 tells a client only when it reads
        connection.close()
    arguments = ("status", "--url", site.url, "--ca", str(site.authority.ca))
    assert run(*arguments, "--cert", str(right)).returncode == 0
    assert run(*arguments).returncode == 1


async def test_tritons_client_with_a_token(
    serve: Serve, repository: Repository, models: Models, folder: Path
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    (folder / "token").touch(0o600)
    (folder / "token").write_text("secret")
    site = Site(serve, repository, folder, "--inference-token-file", str(folder / "token"))
    tensor = tritonclient.http.aio.InferInput("x", [1, 16], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 16), "float32"))
    async with tritonclient.http.aio.InferenceServerClient(
        f"127.0.0.1:{site.server.port}", ssl=True, ssl_context=site.authority.context()
    ) as client:
        assert await client.is_server_ready()
        for headers in ({"Authorization": "Bearer secret"}, {"authorization": "bearer secret"}):
            result = await client.infer("mlp", [tensor], headers=headers)
            assert result.get_response()["model_version"] == "v1"
        with pytest.raises(InferenceServerException, match="this call needs 'Authorization"):
            await client.infer("mlp", [tensor])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tls-key", "x"), "tls_certificate and tls_key must both be set"),
        (("--tls-certificate", "x"), "tls_certificate and tls_key must both be set"),
        (("--tls-client-ca", "x"), "tls_client_ca is set without tls_certificate and tls_key"),
        (("--tls-certificate", "/no", "--tls-key", "/no"), "tls_certificate = '/no': cannot be"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(
    options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = run("serve", "--model-repository", str(tmp_path), "--port", "0", *options)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("fronts", [1, 2])
def test_a_handshake_under_way_at_a_stop_is_finished_and_its_request_answered(
    serve: Serve, repository: Repository, models: Models, tmp_path: Path, fronts: int
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    site = Site(serve, repository, tmp_path, "--fronts", str(fronts))
    sockets = [
        socket.create_connection(("127.0.0.1", site.server.port), timeout=30)
        for _ in range(CONNECTIONS)
    ]
    site.server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: site.server.logged("stopping: requests in flight"), "it stops", poll_s=0.002)
    request = b"POST /v2/models/mlp/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
        len(BODY),
        BODY,
    )
    for plain in sockets:
        with site.authority.context().wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
            wrapped.sendall(request)
            answer = wrapped.makefile("rb").read()
        head = answer.partition(b"\r\n\r\n")[0]
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in head
    assert site.server.process.wait(30) == 0
