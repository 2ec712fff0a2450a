"""The server's process: ready, ended early, stopped. A few lines of Python stand in for it."""

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest

from supervisor.demo.errors import DemoError
from supervisor.demo.server import ServerProcess, free_port

READY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


async def start(program: str, tmp_path: Path) -> ServerProcess:
    port = free_port()
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(port), stdout=output, stderr=output
        )
    return ServerProcess(process, port, log)


async def test_ready_server_is_noticed_and_stopped(tmp_path: Path) -> None:
    server = await start(READY, tmp_path)
    async with aiohttp.ClientSession() as http:
        assert await server.wait_ready(http) > 0
    assert await server.stop()
    assert await server.stop(), "stopping twice is allowed"


async def test_server_that_ends_early_is_reported_with_its_log(tmp_path: Path) -> None:
    server = await start("raise SystemExit('no such device: tpu')", tmp_path)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(DemoError, match=r"(?s)status 1.*server\.log.*no such device: tpu"):
            await server.wait_ready(http)


async def test_server_that_is_not_ready_in_time_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.demo.server.READY_WITHIN_S", 0.3)
    server = await start("import time; time.sleep(60)", tmp_path)
    try:
        async with aiohttp.ClientSession() as http:
            with pytest.raises(DemoError, match="wasn't ready within"):
                await server.wait_ready(http)
    finally:
        await server.stop()


async def test_work_ends_with_the_server(tmp_path: Path) -> None:
    server = await start("raise SystemExit(7)", tmp_path)
    with pytest.raises(DemoError, match="status 7"):
        await server.while_running(asyncio.sleep(60), limit_s=60)


async def test_work_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    server = await start("import time; time.sleep(60)", tmp_path)
    try:
        with pytest.raises(DemoError, match="too slow"):
            await server.while_running(asyncio.sleep(60), limit_s=0.1)
        assert await server.while_running(asyncio.sleep(0, "done"), limit_s=60) == "done"
    finally:
        await server.stop()


async def test_server_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.demo.server.STOP_WITHIN_S", 0.3)
    ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY
    server = await start(ignoring, tmp_path)
    async with aiohttp.ClientSession() as http:
        await server.wait_ready(http)
    assert not await server.stop()
