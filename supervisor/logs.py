"""Logs: structured lines on standard error, for people or as JSON.

Owns their form. Runs in the supervisor, once at start.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from typing import TYPE_CHECKING, TextIO, cast

import orjson
import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger


def _as_text(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    """Render `time LEVEL event key=value ...`."""
    stamp, level, text = event.pop("timestamp"), event.pop("level"), event.pop("event")
    trace = event.pop("exception", "")
    pairs = "".join(f" {key}={_quoted(value)}" for key, value in event.items())
    return f"{stamp} {level.upper():7} {text}{pairs}" + (f"\n{trace}" if trace else "")


def _quoted(value: object) -> str:
    text = str(value)
    if text.isprintable() and text and " " not in text and '"' not in text:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _as_json(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, an endless number: json escapes them
        return json.dumps(event, default=str)


class _Stream:
    """A stream whose failure is nobody's failure: a full disk must not stop the server."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure(log_format: str, level: str) -> None:
    """Set up structlog for the whole process. `log_format` is auto, text or json."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _as_json if as_json else _as_text,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    # aiohttp and asyncio use the standard logger: only what went wrong.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
