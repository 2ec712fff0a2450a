"""The demo from beginning to end: prepare, start the server, measure, stop, clean away.

Owns the temporary folder and the life of everything that the demo starts, also when it's
interrupted. Measures nothing itself. Runs in the process of `hotpaddle demo`.
"""

import asyncio
import contextlib
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final

import aiohttp

from supervisor.demo.client import REQUEST_TIMEOUT_S, ModelClient
from supervisor.demo.course import Course
from supervisor.demo.ctc import CtcDecoder
from supervisor.demo.errors import DemoError
from supervisor.demo.load import Load
from supervisor.demo.options import DemoOptions
from supervisor.demo.publisher import MODEL, Publisher
from supervisor.demo.recogniser import RecogniserFiles, find_recogniser
from supervisor.demo.rendering import render_all
from supervisor.demo.server import READY_WITHIN_S, STOP_WITHIN_S, ServerProcess
from supervisor.demo.summary import Summary
from supervisor.demo.tally import Tally
from supervisor.demo.terminal import Terminal

# What a run may take beyond its two phases and the server's start. With the default
# phases and a server that must be killed, the whole still ends within 90 seconds.
_GRACE_S: Final = 6.0


async def run_demo(options: DemoOptions) -> int:
    """Run the demo and return its exit status.

    Returns:
        0 when no request failed, every text was read right, every good version served and
        every broken one was refused; else 1. 143 when a SIGTERM ended it.

    """
    terminal = Terminal(as_json=options.json)
    task = asyncio.ensure_future(_run(options, terminal))
    loop = asyncio.get_running_loop()
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    # The server, a process group of its own, would outlive a demo that just ends. Only the
    # main thread may handle signals; elsewhere the demo goes without.
    with contextlib.suppress(ValueError, RuntimeError):
        loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await task
    except DemoError as error:
        terminal.error(error)
        return 1
    except asyncio.CancelledError:
        if not terminated:
            raise
        return 128 + signal.SIGTERM
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _run(options: DemoOptions, terminal: Terminal) -> int:
    files = find_recogniser(options.model_dir)
    folder = Path(tempfile.mkdtemp(prefix="hotpaddle-demo-"))
    repository, log = folder / "models", folder / "server.log"
    log_needed = False
    try:
        summary = await _serve(options, terminal, files, repository, log)
        log_needed = not summary.ok
        terminal.result(summary, log=log if log_needed else None)
    except DemoError:
        log_needed = True
        raise
    except OSError as error:
        raise DemoError(
            f"can't write below {folder.parent}, where 200 MB are needed: {error}; "
            "set TMPDIR to a folder with more room"
        ) from error
    finally:
        shutil.rmtree(repository if log_needed else folder, ignore_errors=True)
    return 0 if summary.ok else 1


async def _serve(
    options: DemoOptions, terminal: Terminal, files: RecogniserFiles, repository: Path, log: Path
) -> Summary:
    publisher = Publisher(repository, files)
    await asyncio.to_thread(publisher.create)
    server = await ServerProcess.start(
        repository, port=options.port, device=options.device, log=log
    )
    try:
        return await _measure(options, terminal, files, publisher, server)
    finally:
        if not await server.stop():
            terminal.note(f"  the server didn't stop within {STOP_WITHIN_S:g} s and was killed")


async def _measure(
    options: DemoOptions,
    terminal: Terminal,
    files: RecogniserFiles,
    publisher: Publisher,
    server: ServerProcess,
) -> Summary:
    lines = render_all()
    widths = len({line.shape for line in lines})
    terminal.heading(
        f"PP-OCRv4 reads {len(lines)} text lines of {widths} widths over "
        f"{options.concurrency} connections"
    )
    # One connection more than there are readers: asking for verdicts takes none from them.
    connector = aiohttp.TCPConnector(limit=options.concurrency + 1)
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        ready_s = await server.wait_ready(http)
        terminal.note(f"  server ready after {ready_s:.1f} s at {server.url} ({options.device})")
        client = ModelClient(http, server.url, MODEL)
        tally = Tally()
        decoder = CtcDecoder.from_file(files.keys)
        load = Load(client, await client.signature(), decoder, lines, tally)
        course = Course(options, terminal, publisher, client, load)
        limit_s = options.seconds_without_reloads + options.seconds_with_reloads + _GRACE_S
        limit_s += READY_WITHIN_S - ready_s
        verdicts = await server.while_running(course.run(), limit_s=limit_s)
    return Summary.of(tally, verdicts)
