"""The host's memory: what control groups leave, in trees as the kernel shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from supervisor.host_memory import available_bytes, cgroup_headrooms, private_bytes

NO_LIMIT = 9223372036854771712  # as version 1 writes it


def group(folder: Path, files: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def v2(folder: Path, most: object, high: object, current: int, inactive: int) -> None:
    stat = f"anon 1\ninactive_file {inactive}\nslab 3"
    files = {"memory.max": most, "memory.high": high, "memory.current": current}
    group(folder, {**files, "memory.stat": stat})


def v1(folder: Path, limit: int, usage: int, inactive: int) -> None:
    stat = f"inactive_file 5\ntotal_inactive_file {inactive}"
    files = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage}
    group(folder, {**files, "memory.stat": stat})


def test_version_2_counts_the_group_and_its_parents(tmp_path: Path) -> None:
    v2(tmp_path / "system.slice/hotpaddle.service", 1000, 800, 500, 30)
    v2(tmp_path / "system.slice", 900, "max", 700, 0)
    ours = "0::/system.slice/hotpaddle.service\n"
    assert list(cgroup_headrooms(ours, tmp_path)) == [530, 330, 200]


@pytest.mark.parametrize("path", ["/", "/docker/4711"])
def test_version_2_in_a_container_shows_its_own_group_as_the_root(
    tmp_path: Path, path: str
) -> None:
    v2(tmp_path, 1000, "max", 400, 0)
    assert list(cgroup_headrooms(f"0::{path}\n", tmp_path)) == [600]


def test_version_1(tmp_path: Path) -> None:
    v1(tmp_path / "memory/a/b", 1000, 400, 50)
    v1(tmp_path / "memory/a", NO_LIMIT, 600, 0)
    ours = "9:name=systemd:/x\n4:memory:/a/b\n1:cpu,cpuacct:/c\n0::/a/b\n"
    assert list(cgroup_headrooms(ours, tmp_path)) == [650, NO_LIMIT - 600]


def test_a_group_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    v2(tmp_path, 100, "max", 300, 0)
    assert list(cgroup_headrooms("0::/\n", tmp_path)) == [0]


@pytest.mark.parametrize("ours", ["", "0::/\n", "4:memory:/a\n0::/b\n"])
def test_without_limits_there_is_nothing_to_tell(tmp_path: Path, ours: str) -> None:
    assert list(cgroup_headrooms(ours, tmp_path)) == []


def test_this_machine() -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total


def test_what_a_process_has_of_its_own() -> None:
    program = "held = b'x' * (64 << 20); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 64 << 20 <= private_bytes(child.pid) < 128 << 20
        child.kill()
    assert private_bytes(child.pid) == 0
    assert private_bytes(os.getpid()) > 0
