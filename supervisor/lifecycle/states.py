"""The states of a version: one enum, one table of transitions, one method that moves.

Owns what a version can be and how it gets there; every move is one log line. Decides nothing.
Runs in the supervisor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import structlog

log = structlog.get_logger()


class VersionState(Enum):
    """Where a version stands."""

    DISCOVERED = "DISCOVERED"  # it is wanted
    VERIFYING = "VERIFYING"  # being staged, hashed, checked
    LOADING = "LOADING"  # the spare loads it
    WARMING = "WARMING"  # the spare runs it with the warm-up shapes
    READY = "READY"  # may be switched to
    SERVING = "SERVING"  # answers requests
    DRAINING = "DRAINING"  # replaced, finishes what it has
    RETAINED = "RETAINED"  # kept for instant rollback
    UNLOADED = "UNLOADED"  # given up
    REJECTED = "REJECTED"  # verification or contract
    FAILED = "FAILED"  # load or warm-up


_S: Final = VersionState
_BEFORE_READY: Final = (_S.DISCOVERED, _S.VERIFYING, _S.LOADING, _S.WARMING)

TRANSITIONS: Final[dict[VersionState, frozenset[VersionState]]] = {
    _S.DISCOVERED: frozenset({_S.VERIFYING, _S.REJECTED, _S.FAILED}),
    _S.VERIFYING: frozenset({_S.LOADING, _S.REJECTED, _S.FAILED, _S.UNLOADED}),
    _S.LOADING: frozenset({_S.WARMING, _S.READY, _S.REJECTED, _S.FAILED}),
    _S.WARMING: frozenset({_S.READY, _S.REJECTED, _S.FAILED}),
    # READY may still be left unswitched: its contract is known only now, or a newer wish came.
    _S.READY: frozenset({_S.SERVING, _S.REJECTED, _S.FAILED, _S.UNLOADED}),
    _S.SERVING: frozenset({_S.DRAINING}),
    _S.DRAINING: frozenset({_S.RETAINED, _S.SERVING, _S.UNLOADED}),
    _S.RETAINED: frozenset({_S.SERVING, _S.UNLOADED}),
    _S.UNLOADED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.FAILED: frozenset(),
}


class IllegalTransition(Exception):  # noqa: N818 - a defect of ours, never a user's error
    """A move that the table does not have."""


@dataclass(slots=True)
class VersionRecord:
    """One attempt to bring one version into service, from its discovery to its end."""

    model: str
    version: str
    token: str
    state: VersionState = VersionState.DISCOVERED
    reason: str = ""
    kind: str = ""  # of a rejection or failure, a word for metrics
    digest: str = ""
    phases_ms: dict[str, float] = field(default_factory=dict)
    changed_at: float = field(default_factory=time.time)

    def move(self, to: VersionState, reason: str = "", kind: str = "") -> None:
        """Go to a state and log the move.

        Raises:
            IllegalTransition: the table does not allow it.

        """
        if to not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.model} {self.version}: {self.state.name} → {to.name}")
        before, self.state = self.state, to
        self.reason, self.kind = reason, kind
        self.changed_at = time.time()
        level = log.error if to in (_S.REJECTED, _S.FAILED) else log.debug
        level(
            f"version {before.name} → {to.name}",
            model=self.model,
            version=self.version,
            **({"reason": reason} if reason else {}),
        )

    @property
    def pending(self) -> bool:
        """True while it is on its way to READY."""
        return self.state in _BEFORE_READY

    def to_json(self) -> dict[str, Any]:
        """Give the form in which `/admin/` shows it."""
        return {
            "version": self.version,
            "state": self.state.value,
            "reason": self.reason,
            "digest": self.digest,
            "at": timestamp(self.changed_at),
            "phases_ms": {name: round(value, 1) for name, value in self.phases_ms.items()},
        }


def timestamp(seconds: float) -> str:
    """Write seconds since the epoch as ISO 8601 in UTC with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
