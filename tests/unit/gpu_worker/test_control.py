"""The control channel: message edges, descriptors, refusals, and the end of a peer."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_worker.ipc import messages
from gpu_worker.ipc.channel import MAX_MESSAGE, PeerGone
from gpu_worker.ipc.control import ControlChannel
from gpu_worker.ipc.vocabulary import ProtocolError
from tests.unit.gpu_worker.descriptors import open_descriptors

Pair = tuple[ControlChannel, ControlChannel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The supervisor's and the worker's end."""
    ours, theirs = ControlChannel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_keep_their_edges_and_their_order(pair: Pair) -> None:
    ours, theirs = pair
    sent: list[messages.Message] = [
        messages.Load(1, ".json", warmups=[{"shapes": {"x": [1, 2]}}]),
        messages.Stop(),
        messages.DeviceRefused("x" * 30_000),
        messages.Unload(),
    ]
    for message in sent:
        ours.send(message)
    assert [theirs.receive() for _ in sent] == [(message, []) for message in sent]


def test_both_directions_are_independent(pair: Pair) -> None:
    ours, theirs = pair
    ours.send(messages.Unload())
    theirs.send(messages.NeedSpace())
    assert ours.receive() == (messages.NeedSpace(), [])
    assert theirs.receive() == (messages.Unload(), [])


def test_descriptors_travel_and_are_the_right_files(pair: Pair) -> None:
    ours, theirs = pair
    with tempfile.TemporaryFile() as program, tempfile.TemporaryFile() as params:
        program.write(b"program")
        params.write(b"params")
        program.flush()
        params.flush()
        ours.send(messages.Unload())
        ours.send(messages.Load(1, ".json"), (program.fileno(), params.fileno()))
        assert theirs.receive() == (messages.Unload(), [])
        message, fds = theirs.receive()
    assert message == messages.Load(1, ".json")
    assert [os.pread(fd, 100, 0) for fd in fds] == [b"program", b"params"]
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("closing", [0, 1])
def test_a_closed_end_is_gone_for_the_other(pair: Pair, closing: int) -> None:
    other = pair[1 - closing]
    pair[closing].close()
    for _ in range(2):
        with pytest.raises(PeerGone):
            other.receive()
        with pytest.raises(PeerGone):
            other.send(messages.Stop())


@pytest.mark.parametrize("closing", [0, 1])
def test_what_a_peer_sent_before_its_end_is_still_read(pair: Pair, closing: int) -> None:
    pair[closing].send(messages.DeviceRefused("why"))
    pair[closing].close()
    assert pair[1 - closing].receive() == (messages.DeviceRefused("why"), [])
    with pytest.raises(PeerGone):
        pair[1 - closing].receive()


@pytest.mark.parametrize("closing", [0, 1])
def test_it_is_read_even_if_the_peer_left_messages_unread(pair: Pair, closing: int) -> None:
    pair[1 - closing].send(messages.Unload())
    pair[closing].send(messages.DeviceRefused("why"))
    pair[closing].close()
    assert pair[1 - closing].receive() == (messages.DeviceRefused("why"), [])
    with pytest.raises(PeerGone):
        pair[1 - closing].receive()


def test_an_empty_channel_never_blocks_the_supervisor(pair: Pair) -> None:
    with pytest.raises(BlockingIOError):
        pair[0].receive()


def test_a_peer_that_does_not_read_never_blocks_the_supervisor(pair: Pair) -> None:
    ours, theirs = pair
    sent = 0
    try:
        while sent < 100_000:
            ours.send(messages.Load(sent, ".json"))
            sent += 1
    except BlockingIOError:
        pass
    else:
        pytest.fail("the kernel takes any number of messages")
    arrived = [theirs.receive()[0] for _ in range(sent)]
    assert arrived == [messages.Load(number, ".json") for number in range(sent)]


GARBAGE = [
    b"\0",
    b"{",
    b"[]",
    b"null",
    b'{"type":"Nothing"}',
    b'{"type":"Stop","x":1}',
    b"\xff" * 9,
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("receiving", [0, 1])
def test_garbage_is_refused_and_the_channel_goes_on(
    pair: Pair, garbage: bytes, receiving: int
) -> None:
    pair[1 - receiving].sock.send(garbage)
    pair[1 - receiving].send(messages.Stop())
    with pytest.raises(ProtocolError, match="not a control message"):
        pair[receiving].receive()
    assert pair[receiving].receive() == (messages.Stop(), [])


def test_the_descriptors_of_garbage_are_closed(pair: Pair, tmp_path: Path) -> None:
    ours, theirs = pair
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as file:
        before = open_descriptors()
        socket.send_fds(ours.sock, [b"garbage"], [file.fileno()] * 4)
        with pytest.raises(ProtocolError):
            theirs.receive()
        assert open_descriptors() == before


def test_a_message_too_large_for_a_packet_is_refused_unsent(pair: Pair) -> None:
    with pytest.raises(ProtocolError, match=r"DeviceRefused takes \d+ bytes"):
        pair[1].send(messages.DeviceRefused("x" * MAX_MESSAGE))
    with pytest.raises(BlockingIOError):
        pair[0].receive()


@pytest.mark.parametrize("sending", [0, 1])
def test_the_largest_message_travels_whole(pair: Pair, sending: int) -> None:
    rest = len(messages.VOCABULARY.encode(messages.DeviceRefused("")))
    message = messages.DeviceRefused("x" * (MAX_MESSAGE - rest))
    pair[sending].send(message)
    assert pair[1 - sending].receive() == (message, [])


def test_a_worker_takes_over_its_end_by_number() -> None:
    ours, theirs = ControlChannel.pair()
    fd = os.dup(theirs.sock.fileno())
    os.set_blocking(fd, False)
    theirs.close()
    worker = ControlChannel.inherited(fd)
    assert worker.sock.fileno() == fd
    assert worker.sock.getblocking()
    ours.send(messages.Stop())
    assert worker.receive() == (messages.Stop(), [])
    worker.close()
    ours.close()
