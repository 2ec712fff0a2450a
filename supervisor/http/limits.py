"""Limits of connections: how many, how often, how slowly, how long idle.

Owns their form. A head may have 16 KB on the short way (`heads.LARGEST_HEAD`); larger ones are
aiohttp's, which takes lines and header fields of 8190 bytes each. Pure. Each process that takes
requests holds to them by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from supervisor.access.settings import AccessSettings

_SWEEPS: Final = 8  # looks at all connections within the time that one may be idle
_LONGEST_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits; 0 connections or requests mean any number."""

    connections: int
    requests: int
    head_timeout_s: float
    idle_timeout_s: float

    @classmethod
    def of(cls, settings: AccessSettings) -> Self:
        """Take them from the settings."""
        return cls(
            settings.max_connections,
            settings.max_requests_per_connection,
            settings.head_timeout_ms / 1000,
            settings.idle_timeout_ms / 1000,
        )

    @property
    def sweep_s(self) -> float:
        """Say how often to look for idle connections."""
        return min(self.idle_timeout_s / _SWEEPS, _LONGEST_S)
