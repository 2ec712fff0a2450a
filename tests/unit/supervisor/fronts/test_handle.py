"""A front process, started, led and ended as the supervisor does it."""

from __future__ import annotations

import asyncio
import json
import struct
import sys

import pytest

from supervisor.fronts import handle, messages
from supervisor.fronts.handle import FrontHandle
from supervisor.workers.tally import WorkerTally
from tests.unit.gpu_worker.descriptors import open_descriptors
from tests.unit.supervisor.dispatch.bench import step
from tests.unit.supervisor.front_process.talk import lane, model
from tests.unit.supervisor.fronts.near import SETTINGS, Client, Heard, front, listeners, started
from tests.unit.supervisor.http.loops import until


async def ended(one: FrontHandle, heard: Heard) -> None:
    await until(lambda: heard.ended)
    assert heard.ended == [one]
    assert not one.alive


async def test_a_front_serves_reports_passes_on_and_stops() -> None:
    async with front() as (one, heard):
        one.say(messages.WorkerUp(7, 1, "cpu"))
        one.say(lane(1, 7))
        one.say(model(0, 1))
        one.serve_when_up()
        assert not one.serves
        await started(one)
        assert one.serves
        client, other = [await Client.of([*one.listeners]) for _ in range(2)]

        client.infer()
        (asked,) = await heard.workers[7].asked()
        assert asked.load_id == 70
        heard.workers[7].answer(asked, struct.pack("2f", 5, 6))
        head, body = await client.answer()
        assert head.startswith("HTTP/1.1 200 ")
        assert "X-Model-Version: v1\r\nX-Model-Generation: 1\r\n" in head
        assert json.loads(body)["outputs"][0]["data"] == [5, 6]

        await one.order(messages.Report)
        assert one.statistics.models["m"].versions["v1"].success_count == 1
        assert one.workers == {7: WorkerTally(0, 1, 0)}

        one.say(messages.NeedSpace(7))
        await until(lambda: heard.freed)
        assert heard.freed == [7]

        client.get("/v2/health/live")
        await until(lambda: heard.passed_on)
        (sock,) = heard.passed_on
        assert sock.recv(100).startswith(b"GET /v2/health/live HTTP/1.1\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        assert (await client.answer())[1] == b"{}"

        for one_of_two in (client, other):
            one_of_two.infer()
        asked, _ = await heard.workers[7].asked(2)
        stopping = asyncio.create_task(one.stop(60))
        await step()
        await one.order(messages.Report)  # it has heard of the stop before
        heard.workers[7].answer(asked, bytes(8))
        head, _ = await client.answer()
        assert "Connection: close\r\n" in head
        assert await client.end() == b""
        assert not stopping.done(), "another request has no answer yet"
        await one.stop(0)  # hurries
        await stopping
        await ended(one, heard)
        assert one._process._popen.returncode == 0  # noqa: SLF001 - only the log says it else
        assert await other.end() == b""
        for one_of_two in (client, other):
            await one_of_two.close()
        assert one.statistics.models["m"].versions["v1"].success_count == 2, "it counted to its end"


async def test_a_front_that_is_killed_has_obeyed_and_leaves_its_clients_in_the_backlog() -> None:
    async with front() as (one, heard):
        one.serve_when_up()
        await started(one)
        order = one.order(messages.Report)
        one.kill()
        await ended(one, heard)
        await order
        assert one.order(messages.Report).done()
        one.say(messages.Serve())  # nobody minds
        client = await Client.of([*one.listeners])
        (listener,) = one.listeners
        await until(lambda: _accepts(listener))
        await client.close()
        await one.stop(0)


def _accepts(listener: object) -> bool:
    try:
        listener.accept()[0].close()  # type: ignore[attr-defined]  # a socket
    except BlockingIOError:
        return False
    return True


async def test_a_process_that_cannot_be_started_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handle, "_COMMAND", ["/nowhere/python"])
    with listeners(1) as (sockets,):
        before = open_descriptors()
        with pytest.raises(FileNotFoundError):
            FrontHandle(1, SETTINGS, sockets, Heard(), Heard(), ours=True)
        assert open_descriptors() == before


SCRIPT = """
import json, socket, sys
fd = json.loads(sys.argv[1])["channel"]
channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=fd)
for said in {said!r}:
    channel.send(said)
channel.recv(1 << 16) and channel.recv(1 << 16)
"""


def speaks(monkeypatch: pytest.MonkeyPatch, *said: bytes) -> None:
    """Have a front say something and then listen until it is ended."""
    monkeypatch.setattr(
        handle, "_COMMAND", [sys.executable, "-S", "-c", SCRIPT.format(said=[*said])]
    )


@pytest.mark.parametrize(
    "said",
    [
        b"garbage",
        b'{"type":"Serve"}',
        b'{"type":"Link","worker":1}',
        b'{"type":"Tallied","model":"m","tally":{}}',
        b'{"type":"Tallied","model":"m","tally":7}',
        b'{"type":"WorkersTallied","workers":{"x":[]}}',
        b'{"type":"WorkersTallied","workers":{"1":[1,2,3,4]}}',
    ],
)
async def test_a_front_that_breaks_its_protocol_is_ended(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaks(monkeypatch, said)
    async with front() as (one, heard):
        order = one.order(messages.Report)
        await ended(one, heard)
        await order


async def test_what_concerns_nobody_any_more_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed_on = b'{"type":"PassOn","address":"","encrypted":false}'  # but nothing comes along
    speaks(monkeypatch, b'{"type":"Done","order":0}', passed_on, b'{"type":"Listening"}')
    async with front() as (one, heard):
        await until(lambda: one.listening)
        assert heard.passed_on == []
        assert one.alive
