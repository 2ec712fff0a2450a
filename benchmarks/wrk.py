"""wrk, the load generator of the closed-loop rows: a C program, cheaper than any Python.

Owns its command line and the reading of its outcome. It checks the status of every answer itself,
and corrects its percentiles for coordinated omission. Without it the own generator takes over.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from benchmarks.bare import plain_environment
from benchmarks.errors import BenchError
from benchmarks.load_result import LoadResult
from benchmarks.wire import Request

MISSING: Final = (
    "wrk is not installed (Debian: apt-get install wrk): the own generator takes its place and "
    "costs more of the processor that it shares with the server"
)
_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


def has_wrk() -> bool:
    """Tell whether wrk can be run."""
    return shutil.which("wrk") is not None


def run_wrk(
    port: int, request: Request, concurrency: int, seconds: float, folder: Path
) -> LoadResult:
    """Send a request in a closed loop for so long, in whole seconds.

    Raises:
        BenchError: wrk failed.

    """
    body = folder / "body.bin"
    body.write_bytes(request.body)
    headers = [f"{name}: {value}" for name, value in request.headers.items()]
    command = [
        "wrk", "--threads", "1", "--connections", str(concurrency),
        "--duration", f"{max(1, round(seconds))}s", "--timeout", "30s", "--script", str(_SCRIPT),
        f"http://127.0.0.1:{port}{request.path}", "--", str(body), *headers,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, env=plain_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode != 0 or not lines:
        raise BenchError(f"wrk failed:\n{output[-2000:]}")
    return _result(json.loads(lines[-1]), usage.ru_utime + usage.ru_stime)


def _result(found: dict[str, Any], cpu_s: float) -> LoadResult:
    kinds = {
        "answers that are errors": found["status_errors"],
        "lost connections": found["lost"],
        "no answer in 30 s": found["timeouts"],
    }
    errors = {kind: count for kind, count in kinds.items() if count}
    return LoadResult(
        "wrk", found["requests"] - found["status_errors"], found["seconds"], found["p50_ms"],
        found["p99_ms"], found["max_ms"], cpu_s, errors,
    )  # fmt: skip
