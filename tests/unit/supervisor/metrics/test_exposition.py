"""What /metrics writes: valid in both formats, whole, bounded, and never long at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import pytest
from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from supervisor.metrics.exposition import expose
from supervisor.metrics.families import FAMILIES
from tests.harness import ROOT
from tests.unit.supervisor.metrics.samples import reading

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def families(names: tuple[str, ...] = ("m",)) -> dict[str, Metric]:
    text, _ = await expose(reading(names), "")
    return {one.name: one for one in parser.text_string_to_metric_families(text.decode())}


def value(family: Metric, suffix: str = "", **labels: str) -> float:
    (found,) = (
        sample.value
        for sample in family.samples
        if sample.name.endswith(suffix) and labels.items() <= sample.labels.items()
    )
    return found


@pytest.mark.parametrize("names", [(), ("m",), tuple(f"model{n}" for n in range(7))])
async def test_both_formats_say_the_same(names: tuple[str, ...]) -> None:
    plain, plain_type = await expose(reading(names), "*/*")
    open_, open_type = await expose(reading(names), OPENMETRICS)
    assert plain_type.startswith("text/plain; version=0.0.4")
    assert open_type.startswith(OPENMETRICS)
    assert open_.endswith(b"\n# EOF\n")
    assert open_.count(b"# EOF") == 1

    def samples(found: Iterable[Metric]) -> list[tuple[str, str, list[tuple[str, str]], float]]:
        return [
            (one.name, one.type, sorted(sample.labels.items()), sample.value)
            for one in found
            for sample in one.samples
        ]

    parse = openmetrics_parser.text_string_to_metric_families
    theirs = samples(parse(open_.decode()))  # type: ignore[no-untyped-call]  # it has no types
    assert samples(parser.text_string_to_metric_families(plain.decode())) == theirs
    for family in FAMILIES:
        head = f"# TYPE {family.name} {family.kind}\n".encode()
        assert plain.count(head) == 1  # the parsers would take a family in two parts, too


async def test_requests_are_counted_over_all_versions_and_told_for_those_that_are_loaded() -> None:
    found = await families()
    requests = found["hotpaddle_requests"]
    assert value(requests, model="m", code="200") == 36
    assert value(requests, model="m", code="400") == 2
    assert value(requests, model="m", code="503") == 0
    of_versions = found["hotpaddle_version_requests"]
    assert {sample.labels["version"] for sample in of_versions.samples} == {"v1", "v2"}
    assert value(of_versions, version="v2", code="200") == 20
    assert value(of_versions, version="v2", code="500") == 1


async def test_durations_are_seconds_and_batches_are_rows() -> None:
    found = await families()
    durations = found["hotpaddle_request_duration_seconds"]
    labels = {"model": "m", "stage": "queue", "reload": "false"}
    assert value(durations, "_bucket", **labels, le="0.0025") == 0
    assert value(durations, "_bucket", **labels, le="0.005") == 36
    assert value(durations, "_bucket", **labels, le="+Inf") == 36
    assert value(durations, "_sum", **labels) == pytest.approx(0.108)
    phases = found["hotpaddle_reload_phase_seconds"]
    assert value(phases, "_sum", phase="load") == pytest.approx(0.3)
    assert value(phases, "_count", phase="warm") == 0
    bounds = {sample.labels["le"] for sample in found["hotpaddle_batch_rows"].samples
              if "le" in sample.labels}  # fmt: skip
    assert {"1.0", "8.0", "+Inf"} <= bounds


async def test_the_first_of_its_kind_is_an_increase() -> None:
    found = await families()
    for name, count in (("reloads", 5), ("request_events", 6), ("requests", 9)):
        assert len(found[f"hotpaddle_{name}"].samples) == count


async def test_refused_calls_are_told_by_reason() -> None:
    refused = (await families())["hotpaddle_refused_calls"]
    assert {sample.labels["reason"]: sample.value for sample in refused.samples} == {
        "no_token": 4, "wrong_token": 0, "too_many_connections": 0, "late_head": 1,
    }  # fmt: skip


async def test_what_a_gpu_does_not_tell_is_missing() -> None:
    found = await families()
    assert value(found["hotpaddle_gpu_utilization_ratio"], gpu="0") == 0.5
    assert found["hotpaddle_gpu_temperature_celsius"].samples == []


async def test_names_are_written_so_that_nobody_breaks_the_format() -> None:
    name = 'a"b\\c'
    assert value((await families((name,)))["hotpaddle_model_generation"], model=name) == 2


async def test_others_go_on_while_much_is_written() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    text, _ = await expose(reading(tuple(f"model{n}" for n in range(10))), OPENMETRICS)
    counting.cancel()
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    assert series > 4_000
    assert turns > 20


def test_the_page_about_metrics_says_what_there_is() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(hotpaddle_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", page, re.MULTILINE)
    told = {name: (kind, tuple(re.findall(r"\w+", labels))) for name, kind, labels, _ in rows}
    assert len(told) == len(rows)
    assert told == {family.name: (family.kind, family.labels) for family in FAMILIES}
