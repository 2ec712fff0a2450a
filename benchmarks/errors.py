"""What a benchmark cannot go on from."""

from __future__ import annotations


class BenchError(Exception):
    """A benchmark cannot run; the text says why and what to do."""
