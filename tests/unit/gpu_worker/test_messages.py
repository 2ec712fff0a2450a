"""The messages: each survives its way over the wire, and nothing else is taken for one."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc import messages
from gpu_worker.ipc.messages import VOCABULARY, Message
from gpu_worker.ipc.tensors import BY_NAME, Contract, TensorSpec
from gpu_worker.ipc.vocabulary import ProtocolError

TEXT = st.text(max_size=20)
ID = st.integers(0, (1 << 64) - 1)
MS = st.floats(0, allow_nan=False, allow_infinity=False)
DIMS = st.lists(st.integers(-1, 1 << 40), max_size=9)
SPEC = st.builds(
    TensorSpec, name=TEXT, datatype=st.sampled_from(sorted(BY_NAME)), shape=DIMS.map(tuple)
)
SPECS = st.lists(SPEC, max_size=4).map(tuple)
CONTRACT = st.builds(Contract, inputs=SPECS, outputs=SPECS)
SETTINGS = st.builds(
    messages.PredictorSettings,
    cpu_threads=st.integers(1, 64),
    onednn=st.booleans(),
    precision=st.sampled_from(["fp32", "fp16", "int8"]),
    tensorrt_cache_dir=TEXT,
)
BATCHING = st.builds(
    messages.BatchingSettings,
    max_batch_size=st.integers(1, 256),
    max_queue_delay_us=st.integers(0, 1 << 40),
    preferred_batch_sizes=st.lists(st.integers(1, 256), max_size=4),
    pad=st.dictionaries(TEXT, DIMS, max_size=3),
)
WARMUP = st.builds(
    messages.Warmup,
    shapes=st.dictionaries(TEXT, DIMS, max_size=3),
    origin=st.sampled_from(["declared", "traffic", "guessed"]),
)


def fields(
    value: messages.PredictorSettings | messages.BatchingSettings | messages.Warmup,
) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


MESSAGE: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        messages.Load,
        load_id=ID,
        program_suffix=st.sampled_from([".json", ".pdmodel"]),
        settings=SETTINGS.map(fields),
        batching=BATCHING.map(fields),
        warmups=st.lists(WARMUP.map(fields), max_size=3),
        check_finite=st.booleans(),
        nice=st.integers(-20, 19),
    ),
    st.builds(messages.Unload),
    st.builds(messages.Attach, link=ID),
    st.builds(messages.Detach, link=ID),
    st.builds(messages.SpaceFreed, link=ID),
    st.builds(messages.Stop),
    st.builds(messages.Hello, framework=TEXT, device=TEXT),
    st.builds(messages.DeviceRefused, reason=TEXT),
    st.builds(messages.Warming, load_id=ID, load_ms=MS),
    st.builds(
        messages.Loaded,
        load_id=ID,
        contract=CONTRACT.map(Contract.to_json),
        load_ms=MS,
        warm_ms=MS,
        warnings=st.lists(TEXT, max_size=3),
    ),
    st.builds(messages.LoadFailed, load_id=ID, phase=TEXT, kind=TEXT, reason=TEXT),
    st.builds(messages.Unloaded),
    st.builds(messages.NeedSpace, link=ID),
)


@given(MESSAGE)
def test_every_message_comes_back_equal(message: Message) -> None:
    assert VOCABULARY.decode(VOCABULARY.encode(message)) == message


@given(CONTRACT)
def test_a_contract_survives_in_a_message(contract: Contract) -> None:
    back = VOCABULARY.decode(VOCABULARY.encode(messages.Loaded(1, contract.to_json(), 0.0, 0.0)))
    assert isinstance(back, messages.Loaded)
    assert back.parsed_contract() == contract


@given(SETTINGS, BATCHING, WARMUP)
def test_settings_and_warmups_are_rebuilt_from_their_fields(
    settings: messages.PredictorSettings,
    batching: messages.BatchingSettings,
    warmup: messages.Warmup,
) -> None:
    message = messages.Load(
        1, ".json", fields(settings), batching=fields(batching), warmups=[fields(warmup)]
    )
    back = VOCABULARY.decode(VOCABULARY.encode(message))
    assert isinstance(back, messages.Load)
    assert messages.PredictorSettings(**back.settings) == settings
    assert messages.BatchingSettings(**back.batching) == batching
    assert [messages.Warmup(**run) for run in back.warmups] == [warmup]


@pytest.mark.parametrize("reason", ["Δοκιμή 試験 🛶", "\x00\x1b[31m\n", "\udcff", '"}{'])
def test_any_text_survives(reason: str) -> None:
    assert VOCABULARY.decode(
        VOCABULARY.encode(messages.DeviceRefused(reason))
    ) == messages.DeviceRefused(reason)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"1",
        b'"Stop"',
        b"[]",
        b'["Stop"]',
        b"{}",
        b'{"type":null}',
        b'{"type":["Stop"]}',
        b'{"type":{}}',
        b'{"type":"stop"}',
        b'{"type":"ProtocolError"}',
        b'{"type":"PredictorSettings"}',
        b'{"type":"object"}',
        b'{"type":"Stop","reason":"x"}',
        b'{"type":"DeviceRefused"}',
        b'{"type":"Warming","load_id":1}',
        b'{"type":"Stop"}{"type":"Stop"}',
        b'{"type":"Warming","load_id":' + b"9" * 10_000 + b',"load_ms":1}',
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a control message"):
        VOCABULARY.decode(data)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_nested_ten_thousand_deep_is_refused(opening: str, closing: str) -> None:
    nested = opening * 10_000 + "1" + closing * 10_000
    for text in (nested, f'{{"type":"DeviceRefused","reason":{nested}}}'):
        with pytest.raises(ProtocolError):
            VOCABULARY.decode(text.encode())


def test_a_refusal_quotes_only_the_beginning() -> None:
    with pytest.raises(ProtocolError) as caught:
        VOCABULARY.decode(b"x" * 1_000_000)
    assert len(str(caught.value)) < 300


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_refusal(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        VOCABULARY.decode(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT | st.just("load_id"), JSON, max_size=3), TEXT | st.just("Warming"))
def test_random_fields_give_a_message_or_a_refusal(values: dict[str, object], kind: str) -> None:
    with contextlib.suppress(ProtocolError):
        VOCABULARY.decode(json.dumps({**values, "type": kind}).encode())
