"""Listeners: one address, sockets for each front, and a port that is another's is an error."""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Iterator, Sequence

import pytest

from supervisor.errors import SettingsError
from supervisor.http.listening_sockets import listen, port_of, urls_of
from tests.unit.gpu_worker.descriptors import open_descriptors

FRONTS = [1, 2, 5]
Listeners = list[list[socket.socket]]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


def close(listeners: Listeners) -> None:
    for sockets in listeners:
        for sock in sockets:
            sock.close()


def names(listeners: Listeners) -> list[list[tuple[str, int]]]:
    return [[sock.getsockname()[:2] for sock in sockets] for sockets in listeners]


def accept_one(sockets: Sequence[socket.socket]) -> int:
    """Take the connection that waits at one of the sockets; give its position."""
    with selectors.DefaultSelector() as waiting:
        for position, sock in enumerate(sockets):
            waiting.register(sock, selectors.EVENT_READ, position)
        ready = waiting.select(10)
    assert len(ready) == 1
    position = int(ready[0][0].data)
    sockets[position].accept()[0].close()
    return position


def busy_socket(*options: int) -> socket.socket:
    """Listen as another server does."""
    sock = socket.socket()
    for option in options:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@pytest.mark.parametrize("fronts", FRONTS)
def test_port_0_is_the_same_free_port_for_all_fronts(fronts: int) -> None:
    listeners = listen("127.0.0.1", 0, fronts)
    port = port_of(listeners[0])
    assert port > 0
    assert names(listeners) == [[("127.0.0.1", port)]] * fronts
    assert not any(sock.getblocking() for sockets in listeners for sock in sockets)
    close(listeners)


def test_two_servers_with_port_0_do_not_share_it() -> None:
    first, second = listen("127.0.0.1", 0, 2), listen("127.0.0.1", 0, 2)
    assert port_of(first[0]) != port_of(second[0])
    close(first)
    close(second)


@pytest.mark.parametrize("fronts", FRONTS)
def test_a_port_that_is_given_is_taken_and_may_be_taken_again(fronts: int) -> None:
    listeners = listen("127.0.0.1", 0, fronts)
    port = port_of(listeners[0])
    client = socket.create_connection(("127.0.0.1", port))  # as a client of before the restart
    accept_one([sockets[0] for sockets in listeners])
    close(listeners)
    again = listen("127.0.0.1", port, fronts)
    assert names(again) == [[("127.0.0.1", port)]] * fronts
    client.close()
    close(again)


@pytest.mark.parametrize("fronts", [2, 3])
def test_every_front_gets_connections(fronts: int) -> None:
    listeners = listen("127.0.0.1", 0, fronts)
    sockets = [one for (one,) in listeners]
    reached: set[int] = set()
    for _ in range(1000):
        with socket.create_connection(("127.0.0.1", port_of(sockets))):
            reached.add(accept_one(sockets))
        if len(reached) == fronts:
            break
    assert reached == set(range(fronts))
    close(listeners)


@pytest.mark.parametrize("fronts", FRONTS)
@pytest.mark.parametrize(
    "options", [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]
)
def test_a_busy_port_is_an_error_that_names_it(fronts: int, options: tuple[int, ...]) -> None:
    with busy_socket(*options) as other:
        port = port_of([other])
        with pytest.raises(
            SettingsError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: Address already in use$"
        ) as caught:
            listen("127.0.0.1", port, fronts)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EADDRINUSE


@pytest.mark.parametrize("fronts", FRONTS)
def test_another_hotpaddle_on_the_port_is_an_error(fronts: int) -> None:
    first = listen("127.0.0.1", 0, 3)
    port = port_of(first[0])
    with pytest.raises(SettingsError, match=rf":{port}: Address already in use"):
        listen("127.0.0.1", port, fronts)
    close(first)


@pytest.mark.parametrize("fronts", FRONTS)
@pytest.mark.parametrize("host", ["192.0.2.1", "fe80::1%nowhere", "a..b", "x" * 300])
def test_an_address_that_is_not_ours_is_an_error_that_names_it(fronts: int, host: str) -> None:
    with pytest.raises(SettingsError, match=rf"^cannot listen on {host}:8000: \S"):
        listen(host, 8000, fronts)


@pytest.mark.parametrize("fronts", FRONTS)
def test_a_host_name_is_looked_up(fronts: int) -> None:
    listeners = listen("localhost", 0, fronts)
    port = port_of(listeners[0])
    found = names(listeners)
    assert found == [found[0]] * fronts
    assert {one for sockets in found for one in sockets} <= {("127.0.0.1", port), ("::1", port)}
    with socket.create_connection(("localhost", port)):
        accept_one([sock for sockets in listeners for sock in sockets])
    close(listeners)


@pytest.mark.parametrize("fronts", FRONTS)
def test_no_host_stands_for_every_address_with_one_port(fronts: int) -> None:
    listeners = listen("", 0, fronts)
    port = port_of(listeners[0])
    found = names(listeners)
    assert found == [found[0]] * fronts
    assert ("0.0.0.0", port) in found[0]
    assert {number for _, number in found[0]} == {port}
    with socket.create_connection(("127.0.0.1", port)):
        accept_one([sock for sockets in listeners for sock in sockets])
    close(listeners)


@needs_ipv6
@pytest.mark.parametrize("fronts", FRONTS)
def test_ipv6(fronts: int) -> None:
    listeners = listen("::1", 0, fronts)
    port = port_of(listeners[0])
    assert names(listeners) == [[("::1", port)]] * fronts
    with socket.create_connection(("::1", port)):
        accept_one([sockets[0] for sockets in listeners])
    with pytest.raises(SettingsError, match=rf"^cannot listen on ::1:{port}: Address already"):
        listen("::1", port, fronts)
    close(listeners)


@needs_ipv6
@pytest.mark.parametrize("fronts", FRONTS)
def test_all_ipv6_addresses_leave_the_ipv4_ones_to_others(fronts: int) -> None:
    listeners = listen("::", 0, fronts)
    port = port_of(listeners[0])
    others = listen("0.0.0.0", port, fronts)
    assert names(others) == [[("0.0.0.0", port)]] * fronts
    close(listeners)
    close(others)


@needs_ipv6
@pytest.mark.parametrize("fronts", FRONTS)
def test_one_busy_address_of_several_is_an_error(fronts: int) -> None:
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        other.listen()
        port = port_of([other])
        with pytest.raises(SettingsError, match=rf"^cannot listen on :{port}: Address already"):
            listen("", port, fronts)


def test_addresses_are_written_as_urls() -> None:
    (sockets,) = listen("127.0.0.1", 0, 1)
    port = port_of(sockets)
    assert urls_of(sockets) == f"http://127.0.0.1:{port}"
    assert urls_of(sockets, "localhost") == f"http://localhost:{port}"
    close([sockets])


@needs_ipv6
def test_an_address_of_version_6_is_written_as_one() -> None:
    (sockets,) = listen("::1", 0, 1)
    assert urls_of(sockets) == urls_of(sockets, "::1") == f"http://[::1]:{port_of(sockets)}"
    close([sockets])
