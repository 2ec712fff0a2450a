"""The server as a service: what it tells a notify socket, and sockets that it is handed."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supervisor.client import AdminClient
from tests import model_faults
from tests.conftest import Models
from tests.harness import Repository, Server, mlp_request, wait_for
from tests.integration.wire import Wire
from tests.unit.supervisor.systemd.receiver import Message, Receiver, receiver

Serve = Callable[..., Server]


@pytest.fixture
def manager() -> Iterator[Receiver]:
    """The service manager's end."""
    with receiver() as one:
        yield one


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket as systemd holds it."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as one:
        yield one


@pytest.fixture
def admin() -> Iterator[socket.socket]:
    """The operators' socket as systemd holds it."""
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{folder}/admin.sock")  # a socket's path may have 107 bytes
        one.listen(128)
        yield one


def shows_models(path: str) -> bool:
    """Ask an operators' socket for what only operators are told."""
    return "models" in AdminClient(f"unix:{path}").call("GET", "/admin/models")


def notify(manager: Receiver, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.address, **more}


def wait_message(manager: Receiver, name: str, count: int = 1) -> Message:
    """Wait for so many messages that set a variable; give the last."""
    wait_for(lambda: len(manager.having(name)) >= count, f"{count} messages with {name}")
    return manager.having(name)[-1]


def wait_status(manager: Receiver, text: str) -> None:
    wait_for(lambda: text in manager.status, f"the status says {text!r}")


def test_ready_comes_when_every_model_serves(
    serve: Serve, repository: Repository, models: Models, manager: Receiver
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    repository.publish("slow", "v1", models.slow_mlp())
    server = serve(repository, environment=notify(manager))
    server.wait_listening()
    wait_status(manager, "serving mlp v1")
    assert manager.having("READY") == []
    assert "not ready slow: version v1 is " in manager.status
    assert server.get("/v2/health/ready").status == 503
    assert manager.having("EXTEND_TIMEOUT_USEC")
    ready = wait_message(manager, "READY")
    assert ready["STATUS"] == "serving mlp v1, slow v1"
    assert server.get("/v2/health/ready").status == 200

    server.repository.publish("mlp", "v2", models.mlp(2))
    wait_status(manager, "serving mlp v2, slow v1")
    assert server.stop() == 0
    stop = wait_message(manager, "STOPPING")
    assert stop["STATUS"] == "stopping; serving mlp v2, slow v1"
    assert len(manager.having("READY")) == 1
    assert manager.having("READY")[0] is ready


def test_a_refused_version_is_in_the_status_and_a_reload_ends_with_ready(
    serve: Serve, repository: Repository, models: Models, manager: Receiver
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--watch", "off", environment=notify(manager))
    wait_message(manager, "READY")
    bad = repository.copy("mlp", "v2", models.mlp(2))
    model_faults.truncate_params(bad)
    repository.point("mlp", "v2")
    server.process.send_signal(signal.SIGHUP)
    begun = wait_message(manager, "RELOADING")
    assert int(begun["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert begun["STATUS"] == "reloading; serving mlp v1"
    ready = wait_message(manager, "READY", 2)
    assert ready["STATUS"].startswith("serving mlp v1; refused mlp v2: load: the parameter file ")

    repository.publish("mlp", "v3", models.mlp(3))
    server.process.send_signal(signal.SIGHUP)
    wait_message(manager, "RELOADING", 2)
    assert wait_message(manager, "READY", 3)["STATUS"] == "serving mlp v3"
    kinds = [name for m in manager.messages() for name in ("READY", "RELOADING") if name in m]
    assert kinds == ["READY", "RELOADING", "READY", "RELOADING", "READY"]


def test_a_stop_while_it_starts_is_told(
    serve: Serve, repository: Repository, models: Models, manager: Receiver
) -> None:
    repository.publish("slow", "v1", models.slow_mlp())
    server = serve(repository, environment=notify(manager)).wait_listening()
    wait_status(manager, "version v1 is ")
    assert server.stop() == 0
    wait_message(manager, "STOPPING")
    assert manager.having("READY") == []


def test_the_watchdog_is_fed_unless_a_worker_does_not_end(
    serve: Serve, repository: Repository, models: Models, manager: Receiver
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(
        repository, "--hang-timeout-ms", "500",
        environment=notify(manager, WATCHDOG_USEC="400000"),
    ).wait_ready()  # fmt: skip
    wait_message(manager, "WATCHDOG", 4)
    (pid,) = server.serving_pids("mlp")
    os.kill(pid, signal.SIGSTOP)
    assert server.infer("mlp", mlp_request()).status == 200  # by the next worker
    held_back = server.logged("the watchdog is not fed")
    assert {line["workers"].partition(" ")[2] for line in held_back} == {f"(pid {pid})"}
    wait_message(manager, "WATCHDOG", len(manager.having("WATCHDOG")) + 3)
    assert len(server.logged("the watchdog is not fed")) == len(held_back)


def test_no_child_sees_what_systemd_says(
    serve: Serve, repository: Repository, models: Models, manager: Receiver,
    listener: socket.socket, admin: socket.socket,
) -> None:  # fmt: skip
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(
        repository, environment=notify(manager, WATCHDOG_USEC="60000000"), listener=listener,
        admin_listener=admin,
    ).wait_ready()  # fmt: skip
    children = server.children()
    assert len(children) >= 3  # a worker, a spare, the JSON worker
    inode, admin_inode = (os.fstat(one.fileno()).st_ino for one in (listener, admin))
    for child in children:
        assert child.environ().keys() & {
            "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID",
            "LISTEN_FDNAMES",
        } == set()  # fmt: skip
        links = [str(link.readlink()) for link in Path(f"/proc/{child.pid}/fd").iterdir()]
        assert f"socket:[{admin_inode}]" not in links
        if "supervisor.front_process" not in child.cmdline():  # which is there to accept from it
            assert f"socket:[{inode}]" not in links


def test_a_socket_that_is_handed_over_is_served(
    serve: Serve, repository: Repository, models: Models, listener: socket.socket
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    server = serve(repository, "--port", "1", listener=listener).wait_ready()
    assert server.port == listener.getsockname()[1]
    assert server.logged("listening")[0]["by"] == "systemd"
    assert server.infer("mlp", mlp_request()).status == 200


def test_who_connects_before_models_serve_waits_and_is_answered(
    serve: Serve, repository: Repository, models: Models, listener: socket.socket
) -> None:
    repository.publish("slow", "v1", models.slow_mlp())
    server = serve(repository, listener=listener)
    server.port = listener.getsockname()[1]
    assert server.get("/v2/models/slow/ready").status == 200  # the first answer, no 503 before it
    assert server.logged("listening")


def test_a_model_that_is_refused_does_not_keep_the_others_from_being_served(
    serve: Serve, repository: Repository, models: Models, manager: Receiver,
    listener: socket.socket,
) -> None:  # fmt: skip
    repository.publish("good", "v1", models.mlp(1))
    bad = repository.copy("bad", "v1", models.mlp(2))
    model_faults.truncate_params(bad)
    repository.point("bad", "v1")
    server = serve(repository, environment=notify(manager), listener=listener).wait_listening()
    assert server.infer("good", mlp_request()).status == 200
    wait_status(manager, "not ready bad: version v1 was refused: load: the parameter file ends")
    assert manager.having("READY") == []
    repository.publish("bad", "v2", models.mlp(2))
    assert wait_message(manager, "READY")["STATUS"] == "serving bad v2, good v1"


def test_a_model_that_is_being_written_does_not_keep_the_others_from_being_served(
    serve: Serve, repository: Repository, models: Models, listener: socket.socket
) -> None:
    repository.publish("good", "v1", models.mlp(1))
    copied = repository.copy("copied", "v1", models.mlp(2))  # neither pointer nor manifest
    server = serve(repository, "--settle-ms", "2000", listener=listener)
    server.port = listener.getsockname()[1]

    def written_and_served() -> bool:
        (copied / "inference.pdiparams").touch()
        return bool(server.logged("listening"))

    wait_for(written_and_served, "the server accepts")
    assert server.infer("good", mlp_request()).status == 200
    assert server.infer("copied", mlp_request()).status == 503
    server.wait_serving("copied", "v1")


def test_the_next_server_answers_who_came_while_there_was_none(
    serve: Serve, repository: Repository, models: Models, listener: socket.socket
) -> None:
    repository.publish("mlp", "v1", models.mlp(1))
    first = serve(repository, listener=listener).wait_ready()
    assert first.stop() == 0
    with Wire(first) as wire:  # systemd's socket is open, nobody accepts
        wire.request("GET", "/v2/models/mlp/ready")
        serve(repository, listener=listener)
        assert wire.answer().status == 200


def test_operators_are_served_on_a_socket_that_is_handed_over(
    serve: Serve, repository: Repository, models: Models, admin: socket.socket
) -> None:
    """From the first moment, and from one server to the next; the file is not ours."""
    path = admin.getsockname()
    file = Path(path).stat()
    repository.publish("slow", "v1", models.slow_mlp())
    options = ("--admin-from-loopback", "false", "--admin-socket", path)  # it is there already
    first = serve(repository, *options, admin_listener=admin).wait_listening()
    assert shows_models(path)
    first.wait_ready()
    assert first.get("/admin/models").status == 401
    assert first.stop() == 0

    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(path)  # nobody accepts
        waiting.sendall(b"GET /admin/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        second = serve(repository, *options, admin_listener=admin)
        assert waiting.makefile("rb").read().startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.stop() == 0
    now = Path(path).stat()
    assert (now.st_ino, now.st_mode, now.st_uid) == (file.st_ino, file.st_mode, file.st_uid)


def test_an_operators_socket_with_another_path_is_served_as_well(
    serve: Serve, repository: Repository, models: Models, listener: socket.socket,
    admin: socket.socket,
) -> None:  # fmt: skip
    repository.publish("mlp", "v1", models.mlp(1))
    path, own = admin.getsockname(), f"{admin.getsockname()}.own"
    server = serve(
        repository, "--admin-socket", own, listener=listener, admin_listener=admin
    ).wait_ready()
    assert shows_models(path)
    assert shows_models(own)
    assert server.stop() == 0
    assert (Path(path).exists(), Path(own).exists()) == (True, False)


def test_what_is_no_socket_for_http_is_refused(tmp_path: Path, repository: Repository) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
        server = Server(repository.root, tmp_path / "server", listener=wrong)
        assert server.process.wait(30) == 2
    assert "not a TCP socket that listens" in server.log()
