"""Fingerprints change with every change of a version; versions are ordered as people do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.repository.layout import natural_key, scan_model
from supervisor.repository.version_pointer import is_safe_name

names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,12}\Z")


def fingerprint(model: Path) -> str:
    return scan_model(model).versions["v1"].fingerprint


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1/m.json").write_bytes(b"program")
    (tmp_path / "v1/m.pdiparams").write_bytes(b"parameters")
    return tmp_path


def rewrite_in_place(model: Path) -> None:
    path = model / "v1/m.json"
    before = path.stat()
    path.write_bytes(b"PROGRAM")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` and rsync do


def replace(model: Path) -> None:
    path = model / "v1/m.json"
    before = path.stat()
    (model / "new").write_bytes(b"program")
    os.utime(model / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (model / "new").replace(path)


def add(model: Path) -> None:
    (model / "v1/manifest.json").write_bytes(b"{}")


def remove(model: Path) -> None:
    (model / "v1/m.pdiparams").unlink()


def rename(model: Path) -> None:
    (model / "v1/m.json").rename(model / "v1/n.json")


def touch(model: Path) -> None:
    os.utime(model / "v1/m.json", ns=(0, 0))


def add_settings(model: Path) -> None:
    (model / "model.toml").write_text("")


def add_own_settings(model: Path) -> None:
    (model / "v1/model.toml").write_text("")


CHANGES = [rewrite_in_place, replace, add, remove, rename, touch, add_settings, add_own_settings]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_each_change_of_a_version_changes_its_fingerprint(
    model: Path, change: Callable[[Path], None]
) -> None:
    before = fingerprint(model)
    change(model)
    assert fingerprint(model) != before


def test_each_change_of_the_models_settings_changes_the_fingerprint(model: Path) -> None:
    seen = {fingerprint(model)}
    for text in ("", "instances = 1", "instances = 2"):
        (model / "model.toml").write_text(text)
        seen.add(fingerprint(model))
    (model / "model.toml").unlink()
    assert len(seen) == 4
    assert fingerprint(model) in seen


def test_nothing_else_changes_it(model: Path) -> None:
    before = fingerprint(model)
    assert fingerprint(model) == before
    (model / "v1/.m.json.swp").write_bytes(b"x")
    (model / "v1/folder").mkdir()
    (model / "v2").mkdir()
    (model / "README").write_bytes(b"x")
    assert fingerprint(model) == before
    (model / "model_version.txt").write_text("v1")
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    "ordered",
    [
        ["v1", "v2", "v9", "v10", "v11", "v100"],
        ["2024.9", "2024.10", "2025.1"],
        ["v1", "v1.1", "v1.1.1", "v1.2", "v2"],
        ["v20241015_0930", "v20241015_1430", "v20241016_0001"],
        ["1", "2", "10", "a", "b1", "b02", "b10"],
        ["v1-rc1", "v1-rc2", "v1-rc10"],
        ["v01", "v1", "v02", "v2"],
    ],
)
def test_versions_are_ordered_as_people_do(ordered: list[str]) -> None:
    shuffled = ordered[::-1]
    assert sorted(shuffled, key=natural_key) == ordered


@given(names, names, names)
def test_the_order_is_total(a: str, b: str, c: str) -> None:
    ka, kb, kc = natural_key(a), natural_key(b), natural_key(c)
    assert (ka < kb) + (kb < ka) + (a == b) == 1
    if ka <= kb <= kc:
        assert ka <= kc


@given(st.from_regex(r"\A[A-Za-z][A-Za-z._+-]{0,5}\Z"), st.integers(0), st.integers(0))
def test_a_larger_number_is_newer(stem: str, a: int, b: int) -> None:
    if a != b and is_safe_name(f"{stem}{max(a, b)}"):
        assert (natural_key(f"{stem}{a}") < natural_key(f"{stem}{b}")) == (a < b)


@given(names, names)
def test_a_longer_name_is_newer_than_its_start(a: str, more: str) -> None:
    if not (a[-1].isdigit() and more[0].isdigit()):
        assert natural_key(a) < natural_key(a + more)
