"""The version policy: which version is wanted, and what is done about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.lifecycle.version_policy import (
    ActionKind,
    NoWish,
    ServingSnapshot,
    Way,
    Wish,
    next_action,
    wanted,
    way_of,
)
from supervisor.repository.layout import ModelListing, VersionListing, natural_key
from supervisor.repository.version_pointer import VersionPointer

MODEL = Path("/models/m")
NAMES = [f"v{number}" for number in (1, 2, 9, 10, 11)]


def version(name: str, *, manifest: bool = False, problem: str = "") -> VersionListing:
    return VersionListing(
        name, MODEL / name, fingerprint="f", has_manifest=manifest, problem=problem
    )


def model(
    *versions: VersionListing, pointer: VersionPointer | None = None, flat: bool = False
) -> ModelListing:
    listed = {one.name: one for one in versions}
    return ModelListing("m", MODEL, pointer, listed, version("") if flat else None)


def choose(
    listing: ModelListing,
    refused: tuple[str, ...] = (),
    serving: str | None = None,
    unsettled: tuple[str, ...] = (),
) -> Wish | NoWish:
    tokens = {f"{name}@f" for name in refused}
    return wanted(listing, lambda one: one.name not in unsettled, tokens, serving)


V1, V2, V9, V10 = (version(name) for name in ("v1", "v2", "v9", "v10"))


@pytest.mark.parametrize(
    ("listing", "refused", "serving", "unsettled", "expected"),
    [
        (model(V1, pointer=VersionPointer("v1")), (), None, (), "v1"),
        (model(V1, pointer=VersionPointer("v1")), (), "v9", (), "v1"),
        (model(V1, pointer=VersionPointer("v1")), (), None, ("v1",), "v1"),
        (model(V1, pointer=VersionPointer("v1")), ("v1",), "v9", (), "v1"),
        (model(V1, V9, V10), (), None, (), "v10"),
        (model(V1, V9, V10), (), "v10", (), "v10"),
        (model(V1, V9, V10), ("v10",), None, (), "v9"),
        (model(V1, V9, V10), ("v10", "v9"), None, (), "v1"),
        (model(V1, V9, V10), ("v10",), "v9", (), "v9"),
        (model(V1, V9, V10), ("v10",), "v2", (), "v9"),
        (model(V1, V9, version("v10", problem="is empty")), (), None, (), "v9"),
        (model(V1, V9, V10), (), None, ("v10",), "v9"),
        (model(V1, version("v9", manifest=True)), (), "v1", ("v9",), "v9"),
        (model(flat=True), (), None, (), ""),
        (model(flat=True), (), "abc", (), ""),
    ],
)
def test_the_version_that_is_wanted(
    listing: ModelListing,
    refused: tuple[str, ...],
    serving: str | None,
    unsettled: tuple[str, ...],
    expected: str,
) -> None:
    wish = choose(listing, refused, serving, unsettled)
    assert isinstance(wish, Wish)
    assert (wish.version, wish.token) == (expected, f"{expected}@f")
    assert wish.look_again == ("v10" in unsettled)


@pytest.mark.parametrize(
    ("listing", "refused", "serving", "unsettled", "expected"),
    [
        (
            model(pointer=VersionPointer("v7")), (), "v1", (),
            NoWish(
                "the version pointer names v7, which is not in the repository", "v7", "v7@missing"
            ),
        ),
        (
            model(pointer=VersionPointer(problem="it is empty")), (), "v1", (),
            NoWish("it is empty", token="pointer@it is empty"),
        ),
        (
            ModelListing("m", MODEL, problem="cannot be read: Oh"), (), "v1", (),
            NoWish("model directory cannot be read: Oh"),
        ),
        (
            model(V1, V9), (), "v1", ("v9",),
            NoWish("v9 is still being written", "v9", look_again=True),
        ),
        (
            model(V1, V9), (), None, ("v9", "v1"),
            NoWish("v9 is still being written", "v9", look_again=True),
        ),
        (
            model(flat=True), (), None, ("",),
            NoWish("the model is still being written", look_again=True),
        ),
        (model(version("v1", problem="is empty")), (), None, (), NoWish("v1 is empty")),
    ],
)  # fmt: skip
def test_why_nothing_is_wanted(
    listing: ModelListing,
    refused: tuple[str, ...],
    serving: str | None,
    unsettled: tuple[str, ...],
    expected: NoWish,
) -> None:
    assert choose(listing, refused, serving, unsettled) == expected


@pytest.mark.parametrize(
    ("listing", "refused", "serving"),
    [(model(), (), None), (model(V1, V2), (), "v9"), (model(V1), ("v1",), None)],
)
def test_a_directory_that_is_lost_or_refused_is_no_reason_to_go_back(
    listing: ModelListing, refused: tuple[str, ...], serving: str | None
) -> None:
    wish = choose(listing, refused, serving)
    assert isinstance(wish, NoWish)
    assert (wish.token, wish.look_again) == ("", False)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (ServingSnapshot(), ActionKind.LOAD),
        (ServingSnapshot("v1@f"), ActionKind.LOAD),
        (ServingSnapshot("v9@f"), ActionKind.NOTHING),
        (ServingSnapshot("v9@old"), ActionKind.LOAD),
        (ServingSnapshot("v10@f", "v9@f"), ActionKind.SWITCH_BACK),
        (ServingSnapshot(None, "v9@f"), ActionKind.SWITCH_BACK),
        (ServingSnapshot("v10@f", "v9@old"), ActionKind.LOAD),
        (ServingSnapshot("v1@f", None, frozenset({"v9@f"})), ActionKind.NOTHING),
        (ServingSnapshot("v1@f", "v9@f", frozenset({"v9@f"})), ActionKind.NOTHING),
        (ServingSnapshot("v1@f", "v9@f", unloaded=True), ActionKind.NOTHING),
        (ServingSnapshot(unloaded=True), ActionKind.NOTHING),
    ],
)
def test_what_is_done_about_a_wish(snapshot: ServingSnapshot, expected: ActionKind) -> None:
    assert next_action(Wish(V9, "v9@f"), snapshot) is expected


def test_a_wish_that_cannot_be_met_is_reported_once() -> None:
    wish = choose(model(pointer=VersionPointer("v7")), (), "v1")
    assert next_action(wish, ServingSnapshot("v1@f")) is ActionKind.REPORT
    reported = ServingSnapshot("v1@f", None, frozenset({wish.token}))
    assert next_action(wish, reported) is ActionKind.NOTHING
    assert next_action(wish, ServingSnapshot(unloaded=True)) is ActionKind.NOTHING
    assert next_action(NoWish("v1 is empty"), ServingSnapshot()) is ActionKind.NOTHING


names = st.sampled_from(NAMES)
listings = st.builds(
    lambda found, pointer: model(*found, pointer=pointer),
    st.lists(
        st.builds(
            version, names, manifest=st.booleans(), problem=st.sampled_from(["", "is empty"])
        ),
        unique_by=lambda one: one.name,
    ),
    st.none() | st.builds(VersionPointer, names) | st.just(VersionPointer(problem="is empty")),
)
name_sets = st.frozensets(names).map(tuple)


@given(listings, name_sets, st.none() | names, name_sets)
def test_asking_twice_gives_the_same_answer(
    listing: ModelListing,
    refused: tuple[str, ...],
    serving: str | None,
    unsettled: tuple[str, ...],
) -> None:
    wish = choose(listing, refused, serving, unsettled)
    assert choose(listing, refused, serving, unsettled) == wish
    token = f"{serving}@f" if serving else None
    snapshot = ServingSnapshot(token, None, frozenset(f"{name}@f" for name in refused))
    if next_action(wish, snapshot) is ActionKind.LOAD:
        served = ServingSnapshot(wish.token, token, snapshot.refused)
        after = choose(listing, refused, wish.version, unsettled)
        assert next_action(wish, served) is ActionKind.NOTHING
        assert next_action(after, served) in (ActionKind.NOTHING, ActionKind.REPORT)


@given(listings, name_sets, st.none() | names, name_sets)
def test_without_pointer_nothing_refused_or_older_is_wanted(
    listing: ModelListing,
    refused: tuple[str, ...],
    serving: str | None,
    unsettled: tuple[str, ...],
) -> None:
    wish = choose(listing, refused, serving, unsettled)
    if listing.pointer is not None:
        assert wish.version in (listing.pointer.version, "")
    elif isinstance(wish, Wish):
        assert wish.version not in refused
        assert wish.listing.problem == ""
        assert wish.listing.has_manifest or wish.version not in unsettled
        assert serving is None or natural_key(wish.version) >= natural_key(serving)


@pytest.mark.parametrize(
    ("newest", "passed_over", "expected"),
    [
        (Wish(V9, "v9@f"), False, Way.SERVE),
        (NoWish("the repository cannot be read"), True, Way.SERVE),
        (Wish(V10, "v10@f"), False, Way.SUPERSEDED),
        (Wish(V10, "v10@f"), True, Way.SERVE_FIRST),  # the version before it gave way already
        (Wish(V2, "v2@f"), False, Way.WITHDRAWN),  # the publisher went back to what serves
        (Wish(V2, "v2@f"), True, Way.WITHDRAWN),
        (Wish(V1, "v1@f"), True, Way.WITHDRAWN),  # or to what is retained
        (NoWish("not there", "v7", "v7@missing"), False, Way.SUPERSEDED),
        (NoWish("not there", "v7", "v7@missing"), True, Way.SERVE_FIRST),
    ],
)
def test_a_ready_version_gives_way_to_a_newer_wish_but_not_twice_in_a_row(
    newest: Wish | NoWish, *, passed_over: bool, expected: Way
) -> None:
    found = way_of(
        newest, Wish(V9, "v9@f"), ServingSnapshot("v2@f", "v1@f"), passed_over=passed_over
    )
    assert found is expected
    assert found.gives_way is (expected in (Way.SUPERSEDED, Way.WITHDRAWN))


def test_where_nothing_serves_a_wish_that_names_nothing_withdraws_nothing() -> None:
    for newest in (NoWish("unreadable"), Wish(V10, "v10@f")):
        found = way_of(newest, Wish(V9, "v9@f"), ServingSnapshot(), passed_over=True)
        assert not found.gives_way
