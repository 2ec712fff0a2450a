"""What the repository asks for against what serves, and how reloads are counted."""

from __future__ import annotations

from pathlib import Path

from supervisor.errors import VersionRejected
from supervisor.lifecycle.model import Model
from supervisor.lifecycle.promotion import refuse
from supervisor.lifecycle.reload_statistics import OUTCOMES, PHASES, ReloadStatistics
from supervisor.lifecycle.states import VersionRecord
from supervisor.lifecycle.version_policy import NoWish, Wish
from supervisor.repository.layout import VersionListing
from tests.unit.supervisor.dispatch.bench import Bench


def wish(version: str, token: str | None = None) -> Wish:
    listing = VersionListing(version, Path(version or "flat"))
    return Wish(listing, token or f"{version}@f")


def model(serving: str | None = None) -> Model:
    bench = Bench()
    if serving is not None:
        bench.serve(serving)
    return Model("m", bench.dispatcher)


async def test_what_is_not_known_is_no_mismatch() -> None:
    one = model()
    assert (one.mismatched, one.desired_version) == (False, "")


async def test_what_serves_is_what_is_wanted() -> None:
    one = model("v1")
    one.desired = wish("v1")
    assert (one.mismatched, one.desired_version) == (False, "v1")


async def test_another_version_is_wanted_or_the_same_one_with_other_files() -> None:
    one = model("v1")
    one.desired = wish("v2")
    assert (one.mismatched, one.desired_version) == (True, "v2")
    one.desired = wish("v1", "v1@changed")
    assert one.mismatched


async def test_nothing_serves_or_the_wish_cannot_be_told() -> None:
    one = model()
    one.desired = wish("v1")
    assert one.mismatched
    one = model("v1")
    one.desired = NoWish("the pointer names v3, which is not there", "v3", "v3@missing")
    assert (one.mismatched, one.desired_version) == (True, "v3")
    one.desired = NoWish("the model directory holds no version")
    assert (one.mismatched, one.desired_version) == (True, "")


async def test_a_model_that_was_unloaded_by_request_is_as_it_should_be() -> None:
    one = model()
    one.desired, one.unloaded = wish("v1"), True
    assert not one.mismatched


async def test_a_flat_model_is_named_by_its_bytes_once_they_serve() -> None:
    one = model("0123abcd")
    assert one.dispatcher.serving is not None
    one.desired = wish("", "@f")
    assert (one.mismatched, one.desired_version) == (True, "")
    one.dispatcher.serving.record.token = "@f"
    assert (one.mismatched, one.desired_version) == (False, "0123abcd")


async def test_a_refusal_is_counted_by_its_kind() -> None:
    one = model("v1")
    record = VersionRecord("m", "v2", "v2@f")
    refuse(one, record, VersionRejected("missing", "it is not there"), "test")
    assert (one.reloads.outcomes["refused"], one.reloads.refusals["missing"]) == (1, 1)


def test_phases_of_a_reload() -> None:
    reloads = ReloadStatistics()
    reloads.live({"stage": 1.0, "load": 250.0}, 260.0)
    reloads.ended("superseded")
    assert [reloads.outcomes[outcome] for outcome in OUTCOMES] == [1, 0, 1, 0, 0]
    assert {phase: reloads.phases[phase].count for phase in PHASES} == {
        "stage": 1, "verify": 0, "spare": 0, "load": 1, "warm": 0, "switch": 0, "total": 1,
    }  # fmt: skip
    assert reloads.phases["load"].sum == 250_000_000
