"""What a front is told of a model and at birth comes over whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.channel import MAX_MESSAGE
from gpu_worker.ipc.tensors import Contract, TensorSpec
from supervisor.fronts.arguments import FrontArguments
from supervisor.fronts.messages import FrontChannel, FrontMessage
from supervisor.fronts.state import lane_states, model_state
from supervisor.settings import Settings
from tests.unit.supervisor.dispatch.bench import CONTRACT, Bench
from tests.unit.supervisor.front_process.mirrored import FakePort


def workers(*numbers: int) -> list[FakePort]:
    """Give workers of which each has loaded something as its number times ten."""
    ports = [FakePort(number) for number in numbers]
    for port in ports:
        port.load_id = 10 * port.number
    return ports


async def test_a_models_state_names_its_lanes() -> None:
    bench = Bench()
    state = model_state(bench.dispatcher, 5, held=True)
    assert lane_states(bench.dispatcher) == []
    assert (state.order, state.model, state.held, state.generation) == (5, "m", True, 0)
    assert (state.serving, state.retained) == (0, 0)
    assert state.why_not == "no version has been loaded yet"
    old, new = bench.serve("v1", workers=0), bench.serve("v2", workers=0)
    for port in workers(7, 8):
        bench.add_worker(old, port)
    old.closing = True
    state = model_state(bench.dispatcher, 0, held=False)
    assert (state.held, state.generation) == (False, 2)
    assert (state.serving, state.retained) == (new.number, old.number)
    serving, retained = lane_states(bench.dispatcher)
    assert (serving.number, serving.version, serving.generation) == (new.number, "v2", 2)
    assert (retained.number, retained.version, retained.generation) == (old.number, "v1", 1)
    assert (serving.closing, retained.closing) == (False, True)
    assert (serving.workers, retained.workers) == ([], [[7, 70], [8, 80]])
    assert serving.limits == {"timeout_ms": 60_000, "queue_limit": 64, "max_in_flight": 2}
    assert Contract.from_json(json.loads(json.dumps(serving.contract))) == CONTRACT


async def test_states_come_off_the_wire_as_they_were() -> None:
    bench = Bench()
    bench.add_worker(bench.serve("v1", workers=0), workers(7)[0])
    vocabulary = FrontChannel.vocabulary
    states: list[FrontMessage] = [*lane_states(bench.dispatcher)]
    states.append(model_state(bench.dispatcher, 1, held=False))
    assert [vocabulary.decode(vocabulary.encode(state)) for state in states] == states


async def test_the_contract_of_hundreds_of_tensors_fits_into_a_message() -> None:
    bench = Bench()
    specs = tuple(TensorSpec(f"tensor_{i}", "FP32", (-1, 3, 224, 224)) for i in range(500))
    bench.serve("v1", workers=0, contract=Contract(specs, specs))
    (state,) = lane_states(bench.dispatcher)
    assert len(FrontChannel.vocabulary.encode(state)) < MAX_MESSAGE


@given(
    st.integers(1, 1000),
    st.integers(1, 1 << 22),
    st.lists(st.integers(0, 1023), max_size=4).map(tuple),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    st.booleans(),
)
def test_what_a_front_is_told_at_birth_comes_over_whole(
    number: int, pid: int, listeners: tuple[int, ...], name: str, ours: bool
) -> None:
    settings = Settings(model_repository=Path(name), fronts=3, timeout_ms=77, log_level="debug")
    arguments = FrontArguments(number, pid, settings, 5, listeners, ours)
    back = FrontArguments.from_json(arguments.to_json())
    assert back == arguments
    assert asdict(back.settings) == asdict(settings)
