"""Settling: whether a version has had no write for long enough to count as complete.

Owns what was seen when. Without a pointer or a manifest there is no commit point, so that time has
to stand for one. Runs in the supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from supervisor.repository.layout import VersionListing


class Settling:
    """Remembers fingerprints.

    `trust_ctime`: files were written by this host, so that their change times can be compared with
    our clock; elsewhere only what was observed counts.
    """

    def __init__(self, settle_s: float, clock: Callable[[], float], *, trust_ctime: bool) -> None:
        self.settle_s = settle_s
        self._clock = clock
        self._trust_ctime = trust_ctime
        self._first_seen: dict[tuple[str, str], tuple[str, float]] = {}

    def settled(self, model: str, version: VersionListing) -> bool:
        """Say whether the version counts as complete."""
        if self._trust_ctime and time.time() - version.newest_ctime >= self.settle_s:
            return True
        key, now = (model, version.name), self._clock()
        fingerprint, since = self._first_seen.get(key, ("", now))
        if fingerprint != version.fingerprint:
            self._first_seen[key] = (version.fingerprint, now)
            return self.settle_s == 0
        return now - since >= self.settle_s

    def keep(self, model: str, versions: Iterable[str]) -> None:
        """Forget what is no longer in the repository."""
        names = {"", *versions}
        for key in [key for key in self._first_seen if key[0] == model and key[1] not in names]:
            del self._first_seen[key]
