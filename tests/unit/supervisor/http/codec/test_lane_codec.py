"""The codecs of lanes: what a new version begins with, and what is forgotten."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import numpy as np
import orjson

from gpu_worker.ipc.tensors import BY_NAME, Contract, Tensor, encode_table, table_size
from supervisor.dispatch.lane import Lane
from supervisor.dispatch.result import InferResult
from supervisor.http.codec.lane_codec import Codecs
from supervisor.http.codec.plan import InferPlan
from tests.unit.supervisor.dispatch.bench import CONTRACT, OTHER_CONTRACT, Bench, step

if TYPE_CHECKING:
    from supervisor.http.codec.answer_form import AnswerForm

HEADER = orjson.dumps({
    "inputs": [{
        "name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16},
    }],
})  # fmt: skip
BODY = memoryview(HEADER + np.zeros(4, np.float32).tobytes())


def same_contract() -> Contract:
    """Build what a worker tells of another version: equal, not the same object."""
    return Contract.from_json(CONTRACT.to_json())


def plan_of(codecs: Codecs, lane: Lane) -> InferPlan:
    plan, _ = codecs.of(lane).plans.find(BODY, len(HEADER), 128)
    return plan


def form_of(codecs: Codecs, lane: Lane, plan: InferPlan) -> AnswerForm:
    y = Tensor(0, BY_NAME["FP32"], (1, 2), table_size(1), 8)
    result = InferResult(lane, memoryview(encode_table([y]) + bytes(8)))
    return codecs.of(lane).forms.find(plan, result)


async def test_the_next_version_begins_with_the_plans_of_the_last() -> None:
    bench, codecs = Bench(), Codecs()
    plan = plan_of(codecs, bench.serve("v1"))
    assert plan_of(codecs, bench.serve("v2", contract=same_contract())) is plan


async def test_another_contract_has_plans_of_its_own() -> None:
    bench, codecs = Bench(), Codecs()
    one, other = bench.serve("v1"), bench.serve("v2", contract=OTHER_CONTRACT)
    assert codecs.of(one).plans is not codecs.of(other).plans


async def test_another_model_has_plans_of_its_own() -> None:
    codecs = Codecs()
    one, other = Bench().serve("v1"), Bench().serve("v1")
    other.record.model = "other"
    assert codecs.of(one).plans is not codecs.of(other).plans


async def test_the_next_version_has_its_answers_forms_before_its_first_answer() -> None:
    bench, codecs = Bench(), Codecs()
    old = bench.serve("v1")
    plan = plan_of(codecs, old)
    assert b"v1" in form_of(codecs, old, plan).head(0)
    new = bench.serve("v2", contract=same_contract())
    codecs.of(new)
    await step()
    forms = dict(codecs.of(new).forms._forms)  # noqa: SLF001 - there is no other way to see it
    assert len(forms) == 1
    form = form_of(codecs, new, plan)
    assert form in forms.values()
    json = orjson.loads(form.header_json(memoryview(bytes(1 << 10)), {}))
    assert json["model_version"] == "v2"
    assert form.headers(0)["X-Model-Version"] == "v2"
    assert form.headers(0)["X-Model-Generation"] == "2"


async def test_a_form_that_an_answer_needed_first_is_left() -> None:
    bench, codecs = Bench(), Codecs()
    old = bench.serve("v1")
    plan = plan_of(codecs, old)
    form_of(codecs, old, plan)
    new = bench.serve("v2", contract=same_contract())
    first = form_of(codecs, new, plan)
    await step()
    assert form_of(codecs, new, plan) is first


async def test_lanes_without_workers_are_forgotten() -> None:
    bench, codecs = Bench(), Codecs()
    old = bench.serve("v1")
    codecs.of(old)
    old.workers.clear()
    codecs.of(bench.serve("v2"))
    known = cast("dict[Lane, object]", codecs._codecs)  # noqa: SLF001 - there is no other way
    assert old not in known
    await asyncio.sleep(0)
