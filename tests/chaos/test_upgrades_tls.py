"""Upgrades in place under TLS: nobody can be taken along, and yet nobody loses anything."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.certificates import Authority
from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for

Serve = Callable[..., Server]
BODY = json.dumps(mlp_request()).encode()
CLIENTS = 12
FAR_AWAY_S = 0.1  # between a connection and its handshake
PAUSE_S = 0.05


class Kept(http.client.HTTPSConnection):
    """A connection to a server that is far away, kept for as long as the server keeps it."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", port, timeout=60, context=context)
        self._own = context

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        time.sleep(FAR_AWAY_S)
        self.sock = self._own.wrap_socket(plain, server_hostname="localhost")


class Client:
    """Posts, in a thread, with a pause after each answer."""

    def __init__(self, port: int, context: ssl.SSLContext, path: str, body: bytes) -> None:
        self.answers: list[Any] = []
        self.failures: list[str] = []
        self._path, self._body = path, body
        self._connection = Kept(port, context)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            try:
                self._connection.request("POST", self._path, self._body)
                answer = self._connection.getresponse()
                said = json.loads(answer.read())
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                self._connection.close()
                continue
            if answer.status == 200:
                self.answers.append(said)
            else:
                self.failures.append(f"{answer.status}: {said}")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive()
        self._connection.close()


class Site:
    """A server with TLS."""

    def __init__(self, serve: Serve, repository: Repository, folder: Path) -> None:
        authority = Authority(folder)
        certificate, key = authority.server()
        self.server = serve(
            repository, "--tls-certificate", str(certificate), "--tls-key", str(key)
        ).wait_listening()
        self.context = authority.context()
        wait_for(lambda: self.server.logged("Loaded v1"), "v1 serves")

    def call(self, method: str, path: str) -> Any:
        connection = Kept(self.server.port, self.context)
        connection.request(method, path, headers={"Connection": "close"})
        said = json.loads(connection.getresponse().read())
        connection.close()
        return said

    def upgrade(self) -> Any:
        number = self.call("POST", "/admin/upgrade")["number"]

        def over() -> Any:
            outcome = self.call("GET", "/admin/upgrade")
            ended = outcome["number"] == number and outcome["phase"] in ("done", "refused")
            return outcome if ended else None

        return wait_for(over, "the upgrade has ended")


@pytest.fixture
def site(serve: Serve, repository: Repository, models: Models) -> Iterator[Site]:
    repository.publish("mlp", "v1", models.mlp(1))
    with TemporaryDirectory() as folder:
        yield Site(serve, repository, Path(folder))


def test_clients_that_are_far_away_lose_nothing(site: Site) -> None:
    port, path = site.server.port, "/v2/models/mlp/infer"
    clients = [Client(port, site.context, path, BODY) for _ in range(CLIENTS)]
    try:
        for _ in range(2):
            before = [len(client.answers) for client in clients]
            outcome = site.upgrade()
            assert outcome["phase"] == "done", outcome
            wait_for(
                lambda: all(
                    len(client.answers) > count
                    for client, count in zip(clients, before, strict=True)  # noqa: B023 - at once
                ),
                "each is answered",
            )
    finally:
        for client in clients:
            client.stop()
    assert [client.failures for client in clients] == [[] for _ in clients]


def test_who_waits_for_a_verdict_gets_one_and_the_upgrade_takes_place(site: Site) -> None:
    """Versions do not move while the program is replaced, which takes a second here."""
    asking = Client(site.server.port, site.context, "/admin/reload?wait=30", b"")
    try:
        wait_for(lambda: asking.answers, "it is answered")
        assert site.upgrade()["phase"] == "done"
        count = len(asking.answers)
        wait_for(lambda: len(asking.answers) > count, "it is answered again")
    finally:
        asking.stop()
    assert asking.failures == []
    assert all(answer["ok"] for answer in asking.answers)
