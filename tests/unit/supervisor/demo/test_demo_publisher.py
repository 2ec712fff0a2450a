"""How versions appear in the repository, and what is wrong with the broken ones."""

import itertools
import os
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from supervisor.demo.publisher import (
    FIRST_VERSION,
    MODEL,
    POINTER,
    Breakage,
    Publisher,
    Release,
    release_plan,
)
from supervisor.demo.recogniser import PARAMS, PROGRAM, RecogniserFiles

PROGRAM_BYTES = b"program" * 100
PARAMS_BYTES = np.ones(8192, dtype="<f4").tobytes()


@pytest.fixture
def files(tmp_path: Path) -> RecogniserFiles:
    source = tmp_path / "source"
    source.mkdir()
    files = RecogniserFiles(source / PROGRAM, source / PARAMS, source / "keys.txt")
    files.program.write_bytes(PROGRAM_BYTES)
    files.params.write_bytes(PARAMS_BYTES)
    return files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "models" / MODEL


@pytest.fixture
def publisher(model: Path, files: RecogniserFiles) -> Publisher:
    publisher = Publisher(model.parent, files)
    publisher.create()
    return publisher


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_repository_starts_with_the_first_version(publisher: Publisher, model: Path) -> None:
    assert names(model) == {"model.toml", POINTER, FIRST_VERSION}
    assert (model / POINTER).read_text() == f"{FIRST_VERSION}\n"
    assert (model / FIRST_VERSION / PROGRAM).read_bytes() == PROGRAM_BYTES
    assert (model / FIRST_VERSION / PARAMS).read_bytes() == PARAMS_BYTES


def test_model_declares_its_warm_up(publisher: Publisher, model: Path) -> None:
    settings = tomllib.loads((model / "model.toml").read_text())
    assert settings == {"warmup": [{"x": [1, 3, 48, 320]}]}


def test_pointer_comes_last_and_the_version_was_hidden(
    publisher: Publisher, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look at the folder before each rename: what a scan would find at that moment."""
    seen: list[tuple[str, str, set[str], str]] = []

    def spy(name: str) -> None:
        real = getattr(os, name)

        def renamed(source: Any, target: Any) -> None:
            before = names(model), (model / POINTER).read_text()
            seen.append((Path(source).name, Path(target).name, *before))
            real(source, target)

        monkeypatch.setattr(os, name, renamed)

    spy("rename")
    spy("replace")
    publisher.publish(Release("v2"))

    old = {"model.toml", POINTER, "v1"}
    assert seen == [
        (".v2.tmp", "v2", old | {".v2.tmp"}, "v1\n"),
        (f".{POINTER}.tmp", POINTER, old | {"v2", f".{POINTER}.tmp"}, "v1\n"),
    ]
    assert names(model) == old | {"v2"}
    assert (model / POINTER).read_text() == "v2\n"


def test_version_is_complete_when_it_gets_its_name(
    publisher: Publisher, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename
    complete = []

    def rename(source: Any, target: Any) -> None:
        complete.append((Path(source) / PARAMS).read_bytes() == PARAMS_BYTES)
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    publisher.publish(Release("v2"))
    assert complete == [True]


def test_a_failed_copy_leaves_the_pointer_alone(
    publisher: Publisher, model: Path, files: RecogniserFiles
) -> None:
    files.params.unlink()
    with pytest.raises(FileNotFoundError):
        publisher.publish(Release("v2"))
    assert (model / POINTER).read_text() == "v1\n"
    assert not (model / "v2").exists()


def test_commit_times_follow_one_another(publisher: Publisher) -> None:
    assert publisher.publish(Release("v2")) < publisher.publish(Release("v3"))


def test_truncated_params_are_half_as_long(publisher: Publisher, model: Path) -> None:
    publisher.publish(Release("v3", Breakage.PARAMS_TRUNCATED))
    assert (model / "v3" / PARAMS).read_bytes() == PARAMS_BYTES[: len(PARAMS_BYTES) // 2]
    assert (model / "v3" / PROGRAM).read_bytes() == PROGRAM_BYTES


def test_garbage_program_keeps_its_size(publisher: Publisher, model: Path) -> None:
    publisher.publish(Release("v3", Breakage.PROGRAM_GARBAGE))
    garbage = (model / "v3" / PROGRAM).read_bytes()
    assert garbage != PROGRAM_BYTES
    assert len(garbage) == len(PROGRAM_BYTES)
    assert (model / "v3" / PARAMS).read_bytes() == PARAMS_BYTES


def test_missing_params_are_missing(publisher: Publisher, model: Path) -> None:
    publisher.publish(Release("v3", Breakage.PARAMS_MISSING))
    assert names(model / "v3") == {PROGRAM}


@pytest.mark.parametrize("shift", range(4))
def test_params_with_nan_have_them_at_any_alignment(
    publisher: Publisher, model: Path, files: RecogniserFiles, shift: int
) -> None:
    files.params.write_bytes(b"\0" * shift + PARAMS_BYTES)
    publisher.publish(Release("v3", Breakage.PARAMS_NAN))
    data = (model / "v3" / PARAMS).read_bytes()
    assert len(data) == shift + len(PARAMS_BYTES)
    floats = np.frombuffer(data, dtype="<f4", offset=shift)
    assert np.isnan(floats).sum() >= 1000
    assert np.isfinite(floats[0])
    assert np.isfinite(floats[-1])


def test_absent_version_is_only_pointed_to(publisher: Publisher, model: Path) -> None:
    publisher.publish(Release("v3", Breakage.VERSION_ABSENT))
    assert (model / POINTER).read_text() == "v3\n"
    assert not (model / "v3").exists()


def test_broken_versions_leave_nothing_hidden(publisher: Publisher, model: Path) -> None:
    for number, breakage in enumerate(Breakage, start=2):
        publisher.publish(Release(f"v{number}", breakage))
    assert not [name for name in names(model) if name.startswith(".")]


def test_plan_alternates_and_breaks_each_in_another_way() -> None:
    plan = list(itertools.islice(release_plan(), 2 * len(Breakage)))
    assert [release.version for release in plan] == [f"v{n}" for n in range(2, len(plan) + 2)]
    assert all(release.good for release in plan[::2])
    assert [release.breakage for release in plan[1::2]] == list(Breakage)
