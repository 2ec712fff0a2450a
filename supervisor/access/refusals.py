"""Refusals: how many calls access and the limits of connections sent away.

Owns the reasons, of which no client can make more. Such a call reaches no model, so that no model's
counts hold it. Plain data. Runs in every process that takes requests.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from supervisor.errors import Forbidden, RequestError, Unauthorized


@dataclass(slots=True)
class Refusals:
    """Calls by reason; the names of the fields are what `/metrics` says."""

    no_token: int = 0  # 401
    wrong_token: int = 0  # 403
    too_many_connections: int = 0  # 503: a connection, before its first call
    late_head: int = 0  # 408

    def note(self, error: RequestError) -> None:
        """Take note of a call that was answered with an error, which need not be one of access."""
        if isinstance(error, Unauthorized):
            self.no_token += 1
        elif isinstance(error, Forbidden):
            self.wrong_token += 1

    def add(self, other: Refusals) -> None:
        """Add what another process has counted."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
