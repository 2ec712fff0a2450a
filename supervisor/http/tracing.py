"""Tracing: which trace a request belongs to, as W3C's Trace Context says it.

Owns the two header lines, which differ in every request of a traced client, and the log line that
leads from a failure to its trace. Makes no spans. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import re
from typing import Final

import structlog

log = structlog.get_logger()

# Whole lines with plain values only. A line that goes on in the next one is left to the parser.
_LINE: Final = re.compile(
    rb"\r\n[Tt]race(?:parent: ([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})"
    rb"|state: [!-~][ -~]{0,511})(?=\r\n[^ \t])"
)


def without_trace(head: bytes) -> tuple[bytes, str]:
    """Take the lines out of a head that say nothing but its trace; gives the traceparent, or "".

    What remains asks for the same in the same way.
    """
    traces: list[bytes] = []

    def take(line: re.Match[bytes]) -> bytes:
        if line[1]:
            traces.append(line[1])
        return b""

    rest = _LINE.sub(take, head)
    return rest, traces[0].decode() if len(traces) == 1 else ""  # two of them mean none


def tell_failure(model: str, trace: str, error: Exception) -> None:
    """Log why a traced request was answered 500, under its trace."""
    if trace and getattr(error, "status", 500) == 500:
        log.warning("a traced request failed", model=model, traceparent=trace, reason=str(error))
