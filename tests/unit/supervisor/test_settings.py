"""The server's settings: precedence, limits, and what is said about a bad one."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from supervisor.errors import SettingsError
from supervisor.fields import allowed
from supervisor.settings import FIELDS, Settings, load_settings

REPOSITORY = {"model_repository": "/srv/models"}
NUMBERS = [name for name, kind in get_type_hints(Settings).items() if kind is int]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hotpaddle.toml"


def load(**values: Any) -> Settings:
    return load_settings({**REPOSITORY, **values}, {}, None)


def test_what_is_not_set_keeps_its_default() -> None:
    settings = load()
    assert settings == Settings(model_repository=Path("/srv/models"))
    assert (settings.host, settings.port, settings.spares) == ("127.0.0.1", 8000, -1)
    assert (settings.max_batch_size, settings.worker_malloc, settings.load_nice) == (1, "tuned", 10)


def test_command_line_goes_over_environment_over_file_over_default(file: Path) -> None:
    file.write_text('port = 1\nqueue_limit = 2\ntimeout_ms = 3\nhost = "::"\n')
    environment = {"HOTPADDLE_PORT": "10", "HOTPADDLE_QUEUE_LIMIT": "20"}
    settings = load_settings({**REPOSITORY, "port": "100"}, environment, file)
    assert (settings.port, settings.queue_limit, settings.timeout_ms) == (100, 20, 3)
    assert settings.host == "::"
    assert settings.arena_mb == 256


def test_every_setting_may_stand_in_the_environment() -> None:
    environment = {f"HOTPADDLE_{name.upper()}": str(f.default) for name, f in FIELDS.items()}
    environment["HOTPADDLE_MODEL_REPOSITORY"] = "/srv/models"
    assert load_settings({}, environment, None) == load()


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environment = {"HOTPADDLE_CONFIG": "x", "HOTPADDLE_URL": "y", "PATH": "/bin"}
    assert load_settings(REPOSITORY, environment, None) == load()


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        load().port = 1  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["x", "", "1.5", "-2", "9" * 30, "9" * 5000, True, 1.0, [], None])
def test_bad_number_is_refused_by_name_value_and_limits(name: str, value: Any) -> None:
    limits = allowed(FIELDS[name], int)
    if value == "9" * 30 and FIELDS[name].metadata["high"] is None:
        assert "at least" in limits
        return
    with pytest.raises(SettingsError) as caught:
        load(**{name: value})
    assert str(caught.value) == f"command line: {name} = {value!r}: must be {limits}"


@pytest.mark.parametrize("name", NUMBERS)
def test_limits_themselves_are_allowed_and_one_beyond_is_not(name: str) -> None:
    room = {"arena_mb": "1048576"} if name != "arena_mb" else {"max_request_mb": "1"}
    meta = FIELDS[name].metadata
    for limit, step in ((meta["low"], -1), (meta["high"], 1)):
        if limit is None:
            continue
        if (name, step) != ("arena_mb", -1):
            assert getattr(load(**room, **{name: str(limit)}), name) == limit
        with pytest.raises(SettingsError, match=re.escape(f"{name} = '{limit + step}': must be")):
            load(**room, **{name: str(limit + step)})


@pytest.mark.parametrize(
    ("name", "value", "limits"),
    [("max_batch_size", 0, "1 to 256"), ("max_batch_size", 257, "1 to 256"),
     ("load_nice", -1, "0 to 19"), ("load_nice", 20, "0 to 19")],
)  # fmt: skip
def test_limits_of_batches_and_niceness(name: str, value: int, limits: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{name: value})
    text = f"command line: {name} = {value}: must be a whole number from {limits}"
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("watch", "inotfy", "one of auto, inotify, poll, off"),
        ("watch", "", "one of auto, inotify, poll, off"),
        ("watch", ["poll"], "one of auto, inotify, poll, off"),
        ("worker_malloc", "jemalloc", "one of tuned, system"),
        ("worker_malloc", True, "one of tuned, system"),
        ("log_format", "xml", "one of auto, text, json"),
        ("log_level", "INFO", "one of debug, info, warning, error"),
        ("host", 127, "a text"),
        ("device", 0, "a text"),
        ("model_repository", "", "a path"),
        ("model_repository", 7, "a path"),
    ],
)
def test_bad_text_is_refused_with_what_is_allowed(name: str, value: Any, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{name: value})
    assert str(caught.value) == f"command line: {name} = {value!r}: must be {expected}"


def test_a_bad_value_is_blamed_on_its_source(file: Path) -> None:
    file.write_text("port = 'x'\n")
    with pytest.raises(SettingsError, match=re.escape(f"{file}: port = 'x'")):
        load_settings({**REPOSITORY, "port": 1}, {}, file)
    with pytest.raises(SettingsError, match="environment: port = 'x'"):
        load_settings({**REPOSITORY, "port": 1}, {"HOTPADDLE_PORT": "x"}, None)


def test_unknown_keys_are_refused_in_all_three_sources(file: Path) -> None:
    file.write_text("prot = 1\n")
    for arguments, start in (
        (({}, {}, file), f"{file}: unknown setting 'prot'; known are access_log, "),
        (({}, {"HOTPADDLE_PROT": "1"}, None), "environment: unknown setting 'HOTPADDLE_PROT'; "),
        (({"prot": 1}, {}, None), "command line: unknown setting 'prot'; known are access_log, "),
    ):
        with pytest.raises(SettingsError) as caught:
            load_settings(*arguments)
        assert str(caught.value).startswith(start)


def test_a_table_in_the_file_is_an_unknown_setting(file: Path) -> None:
    file.write_text("[server]\nport = 1\n")
    with pytest.raises(SettingsError, match="unknown setting 'server'"):
        load_settings(REPOSITORY, {}, file)


@pytest.mark.parametrize(
    "data",
    [
        b"port = ",
        b"port",
        b"\xff",
        b"a = " + b"[" * 5000,
        b"port = " + b"9" * 5000,
        b"p = 1\np = 2",
    ],
    ids=["no value", "no equals", "not UTF-8", "too deep", "too large", "twice"],
)
def test_what_is_not_toml_is_refused_with_the_files_name(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(SettingsError, match=re.escape(f"{file}: is not TOML: ")):
        load_settings(REPOSITORY, {}, file)


def test_a_file_that_is_not_there_or_a_directory_is_refused(tmp_path: Path) -> None:
    for file, reason in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError, match=f"cannot be read: {reason}"):
            load_settings(REPOSITORY, {}, file)


@pytest.mark.parametrize(
    ("device", "devices"),
    [
        ("cpu", ("cpu",)),
        ("gpu:0", ("gpu:0",)),
        ("gpu:0,gpu:1", ("gpu:0", "gpu:1")),
        (" gpu:0 , gpu:10 ", ("gpu:0", "gpu:10")),
        ("cpu,cpu", ("cpu", "cpu")),
        ("gpu:3,cpu", ("gpu:3", "cpu")),
    ],
)
def test_devices(device: str, devices: tuple[str, ...]) -> None:
    assert load(device=device).devices() == devices


@pytest.mark.parametrize(
    "device",
    [
        "",
        " ",
        "gpu",
        "gpu:",
        "gpu:-1",
        "gpu:0,",
        "gpu 0",
        "GPU:0",
        "cpu:0",
        "tpu",
        "gpu:00",
        "gpu:٣",
    ],
)
def test_bad_devices_are_refused(device: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(device=device)
    text = f"device = {device!r}: must be cpu, gpu:N, or several of them with commas"
    assert str(caught.value) == text


def test_a_gpu_is_named_once() -> None:
    with pytest.raises(SettingsError, match="device = 'gpu:1,gpu:0,gpu:1': names a GPU twice"):
        load(device="gpu:1,gpu:0,gpu:1")


def test_the_model_repository_must_be_given() -> None:
    with pytest.raises(SettingsError, match="model_repository is not set: give --model-repository"):
        load_settings({}, {}, None)


@pytest.mark.parametrize(("request_mb", "arena_mb"), [("32", "95"), ("100", "256")])
def test_the_arena_has_room_for_three_requests(request_mb: str, arena_mb: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(max_request_mb=request_mb, arena_mb=arena_mb)
    assert str(caught.value) == (
        f"arena_mb = {arena_mb}: must be at least three times max_request_mb ({request_mb})"
    )
    assert load(max_request_mb="32", arena_mb="96").arena_mb == 96
