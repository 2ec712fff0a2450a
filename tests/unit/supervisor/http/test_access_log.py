"""The access log: a line for each request of both ways, in batches that nobody waits for."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from supervisor.access.access_log import AccessLog
from supervisor.access.caller import NOBODY, OPERATOR, Caller
from supervisor.errors import SettingsError
from supervisor.settings import Settings
from tests.unit.supervisor.http.client import ask, chunked, http, numbers
from tests.unit.supervisor.http.loops import on_both_loops, run, until
from tests.unit.supervisor.http.site import site

X = numbers(1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def lines(file: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


@on_both_loops
async def test_each_request_has_its_line(file: Path) -> None:
    async with site(settings=Settings(access_log=str(file))) as one:
        one.serve()
        client = await one.client()
        requests = [
            ask(X),
            ask(X, binary=False).replace(b'"FP32"', b'"FP99"'),
            chunked(ask(X)),
            http("GET", "/v2/health/live?x=1"),
            http("POST", "/v2/models/a%20b/infer", b"{}"),
        ]
        for request in requests:
            await client.ask(request)
    found = lines(file)
    assert [(line["call"], line["model"], line["version"], line["status"]) for line in found] == [
        ("infer", "m", "v1", 200),
        ("infer", "m", "", 400),
        ("infer", "m", "v1", 200),
        ("GET /v2/health/live", "", "", 200),
        ("infer", "a b", "", 404),
    ]
    assert {line["client"] for line in found} == {"127.0.0.1"}
    assert all(0 < line["ms"] < 10_000 for line in found)
    assert found[0]["received"] == len(requests[0].partition(b"\r\n\r\n")[2])
    assert found[0]["sent"] == found[2]["sent"] > 8
    assert found[3]["sent"] == len(b'{"live":true}')
    assert found[0]["time"].startswith(time.strftime("%Y-", time.gmtime()))


@on_both_loops
async def test_who_goes_before_the_answer_has_a_line(file: Path) -> None:
    async with site(settings=Settings(access_log=str(file))) as one:
        worker = one.serve(prompt=False)
        for request in (ask(X), chunked(ask(X))):
            client = await one.client()
            before = len(worker.submitted)
            await client.send(request)
            await until(lambda before=before: len(worker.submitted) > before)  # type: ignore[misc]  # a default binds the loop's value
            client.leave()
            await until(lambda: not one.front.connections)
    assert [line["status"] for line in lines(file)] == [499, 499]


def test_a_log_that_was_moved_away_is_opened_anew(file: Path) -> None:
    async def move() -> None:
        log, moved = AccessLog(str(file)), file.with_suffix(".1")
        log.add(Caller("192.0.2.7"), "infer", 200, time.monotonic_ns())
        await until(lambda: file.stat().st_size)
        await asyncio.to_thread(file.rename, moved)
        await log.reopen()
        log.add(OPERATOR, "GET /admin/models", 200, time.monotonic_ns())
        log.add(NOBODY, "GET /\udcff", 404, time.monotonic_ns())
        await log.close()
        assert [line["client"] for line in lines(moved)] == ["192.0.2.7"]
        assert [(line["client"], line["call"]) for line in lines(file)] == [
            ("unix", "GET /admin/models"), ("unknown", r"'GET /\udcff'"),
        ]  # fmt: skip

    run(move())


def test_storage_that_hangs_costs_lines_and_nothing_else() -> None:
    """A pipe that nobody reads stands for it."""

    async def hang() -> None:
        read, write = os.pipe()
        with os.fdopen(read, "rb") as reader:
            log = AccessLog(f"/proc/self/fd/{write}")
            os.close(write)
            loop = asyncio.get_running_loop()
            with capture_logs() as told:
                for _ in range(60_000):
                    log.add(NOBODY, "infer", 200, time.monotonic_ns())
                closing = loop.create_task(log.close())
                got = await asyncio.to_thread(_read_lines, reader, 50_000)
                await closing
        assert got == 50_000
        assert [line["lines"] for line in told] == [10_000]

    run(hang())


def _read_lines(reader: Any, count: int) -> int:
    return sum(1 for _ in zip(range(count), reader, strict=False))


def test_a_full_disk_is_told() -> None:
    async def fill() -> None:
        log = AccessLog("/dev/full")
        log.add(NOBODY, "infer", 200, time.monotonic_ns())
        with capture_logs() as told:
            await log.close()
        assert [line["reason"] for line in told] == ["No space left on device"]

    run(fill())


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    async def refuse() -> None:
        with pytest.raises(SettingsError, match=r"access_log = .*: cannot be opened: Is a dir"):
            AccessLog(str(tmp_path))

    run(refuse())
