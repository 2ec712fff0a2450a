"""A benchmark that is told to end."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# Ignores SIGINT at first, as what a shell runs with `&` does.
_WORK = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
from benchmarks.interruption import end_when_told
end_when_told()
try:
    print("works", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("ends what it has started")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_lets_it_end_what_it_has_started(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WORK], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        process.send_signal(number)
        assert process.communicate(timeout=30)[0] == "ends what it has started\n"
        assert process.returncode == 0
