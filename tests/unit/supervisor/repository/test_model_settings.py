"""A model's own settings: every field, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.ipc.messages import BatchingSettings, PredictorSettings, Warmup
from supervisor.errors import VersionRejected
from supervisor.repository.model_settings import ModelSettings, parse_model_settings
from supervisor.settings import Settings

SERVER = Settings(device="gpu:0,gpu:1")
FIELDS = {field.name: field for field in dataclasses.fields(ModelSettings)}
KINDS = get_type_hints(ModelSettings)
NUMBERS = [name for name, kind in KINDS.items() if kind is int]
FLAGS = [name for name, kind in KINDS.items() if kind is bool]


def parse(text: str) -> ModelSettings:
    return parse_model_settings(text.encode(), SERVER)


def refusal(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(VersionRejected) as caught:
        parse_model_settings(data, SERVER)
    assert caught.value.kind == "settings"
    return str(caught.value)


def test_no_file_gives_the_defaults_and_the_servers_limits() -> None:
    settings = parse("")
    assert (settings.max_in_flight, settings.queue_limit) == (4, 1024)
    assert (settings.max_batch_size, settings.max_queue_delay_us) == (1, 0)
    assert (settings.preferred_batch_sizes, settings.pad) == ((), ())
    assert (settings.timeout_ms, settings.load_timeout_ms) == (30_000, 300_000)
    assert (settings.instances, settings.devices, settings.warmup) == (1, (), ())
    assert settings.check_finite
    assert not settings.allow_contract_change


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("instances = 3", "instances", 3),
        ('devices = ["gpu:1"]', "devices", ("gpu:1",)),
        ("devices = []", "devices", ()),
        ("max_batch_size = 2", "max_batch_size", 2),
        ("max_queue_delay_us = 500", "max_queue_delay_us", 500),
        ("preferred_batch_sizes = [8, 4, 8]", "preferred_batch_sizes", (4, 8)),
        ("preferred_batch_sizes = []", "preferred_batch_sizes", ()),
        (
            "[pad]\nx = [0, 0, 0, 32]\ny = []",
            "pad",
            (("x", (0, 0, 0, 32)), ("y", ())),
        ),
        ("[pad]", "pad", ()),
        ("max_in_flight = 16", "max_in_flight", 16),
        ("queue_limit = 5", "queue_limit", 5),
        ("timeout_ms = 100", "timeout_ms", 100),
        ("timeout_ms = 0", "timeout_ms", 30_000),
        ("load_timeout_ms = 7", "load_timeout_ms", 7),
        ('precision = "fp16"', "precision", "fp16"),
        ("cpu_threads = 8", "cpu_threads", 8),
        ("onednn = false", "onednn", False),
        ("gpu_pool_mb = 0", "gpu_pool_mb", 0),
        ("tensorrt = true", "tensorrt", True),
        ('tensorrt_cache_dir = "/var/cache"', "tensorrt_cache_dir", "/var/cache"),
        ("tensorrt_workspace_mb = 1", "tensorrt_workspace_mb", 1),
        ("check_finite = false", "check_finite", False),
        ("allow_contract_change = true", "allow_contract_change", True),
        ("[[warmup]]\nx = [1, 3]\ny = []", "warmup", (Warmup({"x": [1, 3], "y": []}),)),
        (
            "[[warmup]]\nx = [1]\n[[warmup]]\nx = [8]",
            "warmup",
            (Warmup({"x": [1]}), Warmup({"x": [8]})),
        ),
    ],
)
def test_each_field_is_read(text: str, name: str, expected: Any) -> None:
    settings = parse(text)
    assert getattr(settings, name) == expected
    assert dataclasses.replace(settings, **{name: getattr(parse(""), name)}) == parse("")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["-1", "10000000000", "1.5", "true", '"x"', "[1]"])
def test_a_bad_number_is_refused_by_name(name: str, value: str) -> None:
    meta = FIELDS[name].metadata
    limits = f"must be a whole number from {meta['low']} to {meta['high']}"
    assert re.fullmatch(rf"model\.toml: {name} = .*: {limits}", refusal(f"{name} = {value}"))


@pytest.mark.parametrize("name", NUMBERS)
def test_limits_themselves_are_allowed_and_one_beyond_is_not(name: str) -> None:
    meta = FIELDS[name].metadata
    assert getattr(parse(f"{name} = {meta['high']}"), name) == meta["high"]
    for value in (meta["low"] - 1, meta["high"] + 1):
        assert f"{name} = {value}: must be" in refusal(f"{name} = {value}")


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ['"yes"', "2", "[]", "1.0"])
def test_a_bad_flag_is_refused_by_name(name: str, value: str) -> None:
    assert refusal(f"{name} = {value}").endswith(": must be true or false")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('precision = "bf16"', "model.toml: precision = 'bf16': must be one of fp32, fp16, int8"),
        ("tensorrt_cache_dir = 1", "model.toml: tensorrt_cache_dir = 1: must be a text"),
        ("batch = 4", "model.toml: unknown setting 'batch'; known are allow_contract_change, "),
        ("[model]\ninstances = 1", "model.toml: unknown setting 'model'"),
        ('devices = "gpu:0"', "model.toml: devices = 'gpu:0': must be a list such as"),
        ("devices = [0]", "model.toml: devices = [0]: must be a list such as"),
        (
            'devices = ["gpu:7", "cpu"]',
            "model.toml: devices names cpu, gpu:7, the server has gpu:0",
        ),
        ("pad = 1", "model.toml: pad = 1: must be a table [pad] with lines like x = [0, 0, 0, 32]"),
        ("[[pad]]\nx = [1]", "model.toml: pad = [{'x': [1]}]: must be a table [pad]"),
        ("warmup = 1", "model.toml: warmup = 1: must be tables [[warmup]] with lines like"),
        ("warmup = [1]", "model.toml: warmup = [1]: must be tables [[warmup]]"),
        ("[warmup]\nx = [1]", "model.toml: warmup = {'x': [1]}: must be tables [[warmup]]"),
    ],
)
def test_other_bad_values_are_refused_by_name(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize("shape", ["[0]", "[-1]", "[1.0]", "[true]", '["1"]', "1", '"x"', "[[1]]"])
def test_a_bad_warmup_shape_is_refused_by_its_input(shape: str) -> None:
    text = refusal(f"[[warmup]]\nx = [1, 3]\n[[warmup]]\nx = {shape}")
    assert re.search(r": x = .* must be a list of positive whole numbers$", text)


@pytest.mark.parametrize(
    "sizes", ["4", '"4"', "[0]", "[-1]", "[1.0]", "[true]", '["4"]', "[65537]", "[[4]]"]
)
def test_bad_batch_sizes_are_refused_by_name(sizes: str) -> None:
    text = refusal(f"preferred_batch_sizes = {sizes}")
    assert text.startswith("model.toml: preferred_batch_sizes = ")
    assert text.endswith(": must be a list of whole numbers from 1, such as [4, 8]")


@pytest.mark.parametrize(
    "multiples", ["32", '"32"', "[-1]", "[1.0]", "[true]", '["8"]', "[65537]", "[[8]]", "{ a = 1 }"]
)
def test_bad_multiples_are_refused_by_their_input(multiples: str) -> None:
    text = refusal(f"[pad]\ny = [0, 8]\nx = {multiples}")
    assert text.startswith("model.toml: pad = ")
    assert re.search(r": x = .* must be a list of whole numbers from 0$", text)


def test_the_batching_gets_its_part() -> None:
    settings = parse(
        "max_batch_size = 8\nmax_queue_delay_us = 100\npreferred_batch_sizes = [4]\n"
        "[pad]\nx = [0, 32]\n"
    )
    assert settings.batching() == BatchingSettings(8, 100, [4], {"x": [0, 32]})
    assert parse("").batching() == BatchingSettings()


@pytest.mark.parametrize(
    ("server", "text", "batch", "ahead"),
    [
        (1, "", 1, 4),
        (1, "max_batch_size = 1", 1, 4),
        (1, "max_batch_size = 2", 2, 4),
        (1, "max_batch_size = 8", 8, 16),
        (1, "max_batch_size = 256", 256, 256),
        (8, "", 8, 16),
        (8, "max_batch_size = 0", 8, 16),
        (8, "max_batch_size = 1", 1, 4),
        (8, "max_batch_size = 2\nmax_in_flight = 3", 2, 3),
        (8, "max_in_flight = 1", 8, 1),
    ],
)
def test_a_batch_gets_enough_requests_to_be_made_of(
    server: int, text: str, batch: int, ahead: int
) -> None:
    settings = parse_model_settings(text.encode(), Settings(max_batch_size=server))
    assert (settings.max_batch_size, settings.max_in_flight) == (batch, ahead)


@pytest.mark.parametrize(
    "data",
    [b"instances", b"\xff", b"a = 1\na = 2", b"a = " + b"[" * 5000, b"a = " + b"9" * 5000],
    ids=["no value", "not UTF-8", "twice", "too deep", "too large"],
)
def test_what_is_not_toml_is_refused(data: bytes) -> None:
    assert refusal(data).startswith("model.toml is not TOML: ")


def test_the_predictor_gets_its_part() -> None:
    settings = parse(
        'cpu_threads = 2\nonednn = false\nprecision = "int8"\ngpu_pool_mb = 3\n'
        'tensorrt = true\ntensorrt_cache_dir = "/c"\ntensorrt_workspace_mb = 4\n'
    )
    assert settings.predictor() == PredictorSettings(2, False, "int8", 3, True, "/c", 4)
    assert parse("").predictor() == PredictorSettings()


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_no_bytes_raise_anything_but_a_rejection(data: bytes) -> None:
    with contextlib.suppress(VersionRejected):
        parse_model_settings(data, SERVER)
