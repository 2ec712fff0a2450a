"""The server that the demo reads through, as a process of its own.

Owns that process from start to end: its command line, its log file, the wait until it is
ready and its stop. Never imports it, and never ends any other process.
Runs in the process of `hotpaddle demo`.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Self, TypeVar

import aiohttp

from supervisor.demo.errors import DemoError

READY_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 20.0
_POLL_S: Final = 0.1
_LOG_LINES_SHOWN: Final = 8

T = TypeVar("T")


def free_port() -> int:
    """Return a TCP port that nothing on this host listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """A running `hotpaddle serve`.

    Args:
        process: The started process.
        port: The port it was told to listen on.
        log: The file that takes its output.

    """

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self._process = process
        self._log = log
        self.url = f"http://127.0.0.1:{port}"

    @classmethod
    async def start(cls, repository: Path, *, port: int, device: str, log: Path) -> Self:
        """Start the server over `repository`; port 0 takes a free one.

        Raises:
            OSError: The process or its log file can't be made.

        """
        port = port or free_port()
        command = (sys.executable, "-m", "supervisor", "serve")
        settings = ("--model-repository", str(repository), "--port", str(port), "--device", device)
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                *settings,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C at the terminal reaches the demo alone, which then stops the
                # server once it has no request left under way.
                start_new_session=True,
            )
        return cls(process, port, log)

    async def wait_ready(self, http: aiohttp.ClientSession) -> float:
        """Wait until the server reports ready; return the seconds that it took.

        Raises:
            DemoError: The server ended, or isn't ready in time.

        """
        begun = perf_counter()
        while perf_counter() - begun < READY_WITHIN_S:
            if self._process.returncode is not None:
                raise self._ended()
            with suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(f"{self.url}/v2/health/ready") as response:
                    if response.status == 200:
                        return perf_counter() - begun
            await asyncio.sleep(_POLL_S)
        raise DemoError(
            f"the server wasn't ready within {READY_WITHIN_S:.0f} s; its log says why: "
            f"{self._log}\n{self._log_tail()}"
        )

    async def while_running(self, work: Coroutine[Any, Any, T], *, limit_s: float) -> T:
        """Do `work`, which needs the server, and give it up when the server ends.

        Raises:
            DemoError: The server ended, or the work took longer than `limit_s`.

        """
        task = asyncio.ensure_future(work)
        end = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait((task, end), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            # A server that has ended explains whatever else went wrong: ask that first.
            if end.done():
                raise self._ended()
            if not task.done():
                raise DemoError(
                    f"the server is too slow: not done after {limit_s:.0f} s; its log may say "
                    f"why: {self._log}\n{self._log_tail()}"
                )
            return task.result()
        finally:
            task.cancel()
            end.cancel()
            await asyncio.wait((task, end))

    async def stop(self) -> bool:
        """Ask the server to stop, and wait; return False when it had to be killed."""
        if self._process.returncode is not None:
            return True
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            return False
        return True

    def _ended(self) -> DemoError:
        return DemoError(
            f"the server ended with status {self._process.returncode}; its log says why: "
            f"{self._log}\n{self._log_tail()}"
        )

    def _log_tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_LOG_LINES_SHOWN:])
