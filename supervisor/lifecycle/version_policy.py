"""The version policy: which version a model should serve, given what lies in the repository.

Pure functions over snapshots; no I/O, no clock, no state. Runs in the supervisor.

The pointer says which version is wanted. Without one it is the newest complete version that has not
been refused, and never one older than what serves: going back takes the pointer or a rollback, so
that storage that loses a directory cannot replace what serves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import Enum

from supervisor.repository.layout import ModelListing, VersionListing, natural_key


@dataclass(frozen=True, slots=True)
class Wish:
    """The version that the repository asks for; `token` identifies these very files.

    `look_again` says that a newer one is still being written.
    """

    listing: VersionListing
    token: str
    look_again: bool = False

    @property
    def version(self) -> str:
        """Name of the version; "" for a flat model, which is named by its digest later."""
        return self.listing.name


@dataclass(frozen=True, slots=True)
class NoWish:
    """Why the repository asks for nothing that can be loaded.

    `version` and `token` identify a wish that cannot be met (a pointer to a version that is not
    there), so that it is reported once; `look_again` asks for another look after the settling time.
    """

    reason: str
    version: str = ""
    token: str = ""
    look_again: bool = False


def wanted(
    model: ModelListing,
    settled: Callable[[VersionListing], bool],
    refused: Collection[str],
    serving_version: str | None,
) -> Wish | NoWish:
    """Choose the version that a model should serve.

    `settled` says whether a version has had no write for the settling time, `refused` holds the
    tokens that were rejected, failed or rolled back.
    """
    if model.problem:
        return NoWish(f"model directory {model.problem}")
    if model.pointer is not None:
        return _by_pointer(model)
    if model.flat is not None:
        return _settled_wish(model.flat, settled)
    return _newest(model, settled, refused, serving_version)


def _token(listing: VersionListing) -> str:
    return f"{listing.name}@{listing.fingerprint}"


def _by_pointer(model: ModelListing) -> Wish | NoWish:
    assert model.pointer is not None
    pointer = model.pointer
    if pointer.problem:
        return NoWish(pointer.problem, token=f"pointer@{pointer.problem}")
    listing = model.versions.get(pointer.version)
    if listing is None:
        reason = f"the version pointer names {pointer.version}, which is not in the repository"
        return NoWish(reason, pointer.version, f"{pointer.version}@missing")
    return Wish(listing, _token(listing))


def _settled_wish(
    listing: VersionListing, settled: Callable[[VersionListing], bool]
) -> Wish | NoWish:
    if not listing.has_manifest and not settled(listing):
        name = listing.name or "the model"
        return NoWish(f"{name} is still being written", listing.name, look_again=True)
    return Wish(listing, _token(listing))


def _newest(
    model: ModelListing,
    settled: Callable[[VersionListing], bool],
    refused: Collection[str],
    serving_version: str | None,
) -> Wish | NoWish:
    nothing = NoWish(
        "the model directory holds no version: neither model_version.txt, nor version "
        "directories, nor *.pdiparams"
    )
    waiting: NoWish | None = None
    for name in sorted(model.versions, key=natural_key, reverse=True):
        listing = model.versions[name]
        if serving_version is not None and natural_key(name) < natural_key(serving_version):
            break
        if listing.problem:
            nothing = NoWish(f"{name} {listing.problem}")
            continue
        if _token(listing) in refused:
            continue
        choice = _settled_wish(listing, settled)
        if isinstance(choice, Wish):
            if waiting is None:
                return choice
            # A newer one is being written: wait for it, unless there is nothing to serve with.
            return waiting if serving_version is not None else replace(choice, look_again=True)
        waiting = waiting or choice
    return waiting or nothing


class ActionKind(Enum):
    """What to do about a model now."""

    NOTHING = "nothing"
    LOAD = "load"
    SWITCH_BACK = "switch_back"  # the retained version is wanted again
    REPORT = "report"  # the wish cannot be met


@dataclass(frozen=True, slots=True)
class ServingSnapshot:
    """What is needed to know of the model for a decision; tokens are None for "nothing"."""

    serving_token: str | None = None
    retained_token: str | None = None
    refused: frozenset[str] = frozenset()
    unloaded: bool = False  # the operator took it out of service


def next_action(wish: Wish | NoWish, snapshot: ServingSnapshot) -> ActionKind:
    """Decide the next step for one model. Asking twice gives the same answer."""
    if snapshot.unloaded:
        return ActionKind.NOTHING
    if isinstance(wish, NoWish):
        new = bool(wish.token) and wish.token not in snapshot.refused
        return ActionKind.REPORT if new else ActionKind.NOTHING
    if wish.token == snapshot.serving_token or wish.token in snapshot.refused:
        return ActionKind.NOTHING
    if wish.token == snapshot.retained_token:
        return ActionKind.SWITCH_BACK
    return ActionKind.LOAD


class Way(Enum):
    """Whether what was loaded for a wish serves, now that the newest wish is known."""

    SERVE = "serve"
    SERVE_FIRST = "serve_first"  # something newer is wanted, and comes next
    WITHDRAWN = "withdrawn"  # what is wanted by now is there already
    SUPERSEDED = "superseded"  # by something newer

    @property
    def gives_way(self) -> bool:
        """Say whether it does not serve."""
        return self in (Way.WITHDRAWN, Way.SUPERSEDED)


def way_of(
    newest: Wish | NoWish, wish: Wish, snapshot: ServingSnapshot, *, passed_over: bool
) -> Way:
    """Say whether what was loaded for `wish` serves, or gives way to the newest wish.

    `passed_over` says that the version before it gave way. Versions that come faster than they load
    would each give way to the next, and nothing new would ever serve: hence not twice in a row.
    """
    if newest.token in ("", wish.token):
        return Way.SERVE
    if newest.token in (snapshot.serving_token, snapshot.retained_token):
        return Way.WITHDRAWN
    return Way.SERVE_FIRST if passed_over else Way.SUPERSEDED
