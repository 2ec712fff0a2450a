"""The handover: what systemd gives is taken once, checked, and kept from children."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supervisor.errors import SettingsError
from supervisor.systemd.handover import VARIABLES, Handover, take_handover

PID = os.getpid()


@pytest.fixture
def fds() -> Iterator[tuple[int, int]]:
    """Two descriptors in a row, as systemd passes them, of sockets that listen."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        first = max(int(name.name) for name in Path("/proc/self/fd").iterdir()) + 100
        for number, listener in enumerate((one, other)):
            os.dup2(listener.fileno(), first + number)
        yield first, first + 1
    for fd in (first, first + 1):
        try:
            os.close(fd)
        except OSError:
            continue  # it was taken over


@pytest.fixture
def unix() -> Iterator[socket.socket]:
    """A unix socket that listens."""
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as one:
        one.bind(f"{folder}/admin.sock")  # a socket's path may have 107 bytes
        one.listen()
        yield one


def given(**more: str) -> dict[str, str]:
    return {"PATH": "/bin", "LISTEN_PID": str(PID), **more}


def test_without_systemd_there_is_nothing() -> None:
    environment = {"PATH": "/bin"}
    assert take_handover(environment, PID) == Handover()
    assert environment == {"PATH": "/bin"}


def test_all_variables_are_taken_away_whatever_they_hold() -> None:
    environment = {"PATH": "/bin", **dict.fromkeys(VARIABLES, "nonsense")}
    assert take_handover(environment, PID) == Handover("nonsense")
    assert environment == {"PATH": "/bin"}


def test_the_watchdog_is_ours_if_it_names_us_or_nobody() -> None:
    for pid, seconds in (("", 2.5), (str(PID), 2.5), (str(PID + 1), 0.0)):
        environment = {"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": pid}
        assert take_handover(environment, PID).watchdog_s == seconds


@pytest.mark.parametrize("names", ["", "http:http", "hotpaddle.socket:http", "http"])
def test_sockets_are_taken_over(fds: tuple[int, int], names: str) -> None:
    handover = take_handover(given(LISTEN_FDS="2", LISTEN_FDNAMES=names), PID, fds[0])
    assert [one.fileno() for one in handover.sockets] == list(fds)
    assert not any(one.get_inheritable() for one in handover.sockets)
    address = handover.sockets[0].getsockname()
    with socket.create_connection(address, timeout=5):
        handover.sockets[0].accept()[0].close()
    handover.close()


def test_sockets_of_another_process_are_not_ours(fds: tuple[int, int]) -> None:
    environment = given(LISTEN_FDS="2") | {"LISTEN_PID": str(PID + 1)}
    assert take_handover(environment, PID, fds[0]) == Handover()
    assert environment == {"PATH": "/bin"}
    assert os.fstat(fds[0])


def test_what_is_meant_for_something_else_is_refused(fds: tuple[int, int]) -> None:
    known = "only FileDescriptorName=http and =admin are known"
    with pytest.raises(SettingsError, match=rf"descriptor {fds[1]} \(metrics\): {known}"):
        take_handover(given(LISTEN_FDS="2", LISTEN_FDNAMES="http:metrics"), PID, fds[0])


def test_what_is_no_listening_tcp_socket_is_refused(fds: tuple[int, int]) -> None:
    with open(os.devnull) as file:  # noqa: PTH123 - a descriptor that is no socket
        os.dup2(file.fileno(), fds[1])
    with pytest.raises(SettingsError, match=rf"descriptor {fds[1]} .*: not a socket"):
        take_handover(given(LISTEN_FDS="2"), PID, fds[0])
    for kind in (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM),  # does not listen
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    ):
        with kind:
            os.dup2(kind.fileno(), fds[0])
        with pytest.raises(SettingsError, match="not a TCP socket that listens"):
            take_handover(given(LISTEN_FDS="1"), PID, fds[0])


@pytest.mark.parametrize("names", ["admin:http", "http:admin", "hotpaddle.socket:admin"])
def test_the_operators_socket_is_told_by_its_name(
    fds: tuple[int, int], unix: socket.socket, names: str
) -> None:
    at = names.split(":").index("admin")
    os.dup2(unix.fileno(), fds[at])
    handover = take_handover(given(LISTEN_FDS="2", LISTEN_FDNAMES=names), PID, fds[0])
    assert [one.fileno() for one in handover.admin_sockets] == [fds[at]]
    assert [one.fileno() for one in handover.sockets] == [fds[1 - at]]
    assert not handover.admin_sockets[0].get_inheritable()
    handover.close()
    assert [one.fileno() for one in (*handover.sockets, *handover.admin_sockets)] == [-1, -1]


def test_what_is_no_listening_unix_socket_is_not_for_operators(fds: tuple[int, int]) -> None:
    listening, abstract = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0hotpaddle-{PID}")
    abstract.listen()
    for kind, why in (
        (listening, "not a unix socket that listens"),
        (socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), "not a unix socket that listens"),
        (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), "not a unix socket that listens"),
        (abstract, "a unix socket without a file"),
    ):
        with kind:
            os.dup2(kind.fileno(), fds[0])
        with pytest.raises(SettingsError, match=rf"descriptor {fds[0]} \(admin\): {why}"):
            take_handover(given(LISTEN_FDS="1", LISTEN_FDNAMES="admin"), PID, fds[0])


def test_a_unix_socket_is_not_for_http(fds: tuple[int, int], unix: socket.socket) -> None:
    for name in ("http", "unknown", "hotpaddle-admin.socket"):
        os.dup2(unix.fileno(), fds[0])
        with pytest.raises(SettingsError, match="not a TCP socket that listens"):
            take_handover(given(LISTEN_FDS="1", LISTEN_FDNAMES=name), PID, fds[0])


def test_a_child_inherits_nothing(fds: tuple[int, int]) -> None:
    environment = {**os.environ, **given(LISTEN_FDS="1", NOTIFY_SOCKET="/run/x")}
    handover = take_handover(environment, PID, fds[0])
    code = (
        "import os, sys; print([name for name in sys.argv[2:] if name in os.environ])\n"
        "os.fstat(int(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(fds[0]), *VARIABLES],
        env=environment, close_fds=False, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "[]\n")
    assert "Bad file descriptor" in done.stderr
    handover.close()
