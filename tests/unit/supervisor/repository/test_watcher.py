"""The watcher, with the kernel's inotify on a real tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from supervisor.repository.layout import scan
from supervisor.repository.watcher import Watcher, file_system_of, must_poll

LONG_S = 3600.0


class Looks:
    """Notes each call of `look` and lets a test wait for one."""

    def __init__(self) -> None:
        self.triggers: list[str] = []
        self._new = asyncio.Event()

    def __call__(self, trigger: str) -> None:
        self.triggers.append(trigger)
        self._new.set()

    async def next(self) -> str:
        async with asyncio.timeout(10):
            await self._new.wait()
        self._new.clear()
        return self.triggers[-1]


@asynccontextmanager
async def watching(
    root: Path, mode: str, interval_s: float = LONG_S
) -> AsyncIterator[tuple[Watcher, Looks]]:
    looks = Looks()
    watcher = Watcher(root, mode, interval_s, looks)
    watcher.start()
    try:
        watcher.follow(scan(root).directories)
        yield watcher, looks
    finally:
        watcher.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    (directory / "a/v1").mkdir(parents=True)
    (directory / "a/v1/m.json").write_bytes(b"x")
    (directory / "a/model_version.txt").write_text("v1")
    return directory


@pytest.mark.parametrize(
    ("file_system", "poll"),
    [
        ("ext4", False), ("xfs", False), ("btrfs", False), ("zfs", False), ("tmpfs", False),
        ("", False), ("nfs", True), ("nfs4", True), ("cifs", True), ("smb3", True), ("fuse", True),
        ("fuse.sshfs", True), ("fuseblk", True), ("9p", True), ("overlay", True), ("ceph", True),
        ("lustre", True), ("virtiofs", True), ("glusterfs", True), ("beegfs", True),
    ],
)  # fmt: skip
def test_file_systems_that_others_write_to_are_polled(file_system: str, poll: bool) -> None:
    assert must_poll(file_system) is poll


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    assert file_system_of(Path("/proc")) == "proc"
    assert file_system_of(Path("/proc/self")) == "proc"
    (tmp_path / "link").symlink_to("/proc")
    assert file_system_of(tmp_path / "link") == "proc"
    assert file_system_of(tmp_path) == file_system_of(tmp_path / "not there yet") != "proc"


def create_model(root: Path) -> None:
    (root / "b").mkdir()


def write_file(root: Path) -> None:
    (root / "a/v1/m.json").write_bytes(b"y")


def rename_file(root: Path) -> None:
    (root / "a/v1/m.json").rename(root / "a/v1/n.json")


def replace_pointer(root: Path) -> None:
    (root / "a/new").write_text("v2")
    (root / "a/new").replace(root / "a/model_version.txt")


def rewrite_pointer(root: Path) -> None:
    (root / "a/model_version.txt").write_text("v2")


def move_model_away(root: Path) -> None:
    (root / "a").rename(root.parent / "away")


def delete_file(root: Path) -> None:
    (root / "a/v1/m.json").unlink()


CHANGES = [
    create_model, write_file, rename_file, replace_pointer, rewrite_pointer, move_model_away,
    delete_file,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_each_change_makes_it_look(root: Path, change: Callable[[Path], None]) -> None:
    async with watching(root, "inotify") as (_, looks):
        change(root)
        assert await looks.next() == "inotify"


async def test_many_changes_at_once_are_few_looks(root: Path) -> None:
    async with watching(root, "inotify") as (_, looks):
        for number in range(500):
            (root / f"a/{number}").write_bytes(b"")
        await looks.next()
        assert len(looks.triggers) == 1


async def test_new_directories_are_told_once_and_then_watched(root: Path) -> None:
    async with watching(root, "inotify") as (watcher, looks):
        assert not watcher.follow(scan(root).directories)
        (root / "b").mkdir()
        await looks.next()
        assert watcher.follow(scan(root).directories)
        assert not watcher.follow(scan(root).directories)
        (root / "b/model_version.txt").write_text("v1")
        await looks.next()


async def test_another_directory_of_the_same_name_is_watched(root: Path) -> None:
    async with watching(root, "inotify") as (watcher, looks):
        (root / "a").rename(root.parent / "away")
        (root / "a/v1").mkdir(parents=True)
        await looks.next()
        assert watcher.follow(scan(root).directories)
        (root / "a/v1/m.json").write_bytes(b"x")
        await looks.next()


async def test_what_is_no_longer_followed_is_not_watched(root: Path) -> None:
    async with watching(root, "inotify") as (watcher, looks):
        assert not watcher.follow([root])
        (root / "a/v1/m.json").write_bytes(b"y")
        (root / "b").mkdir()
        await looks.next()
        assert watcher.follow([root, root / "a"])


async def test_a_directory_that_is_gone_again_is_left_out(root: Path) -> None:
    async with watching(root, "inotify") as (watcher, _):
        assert not watcher.follow([*scan(root).directories, root / "gone"])


@pytest.mark.parametrize("file_system", ["nfs4", "overlay"])
async def test_auto_polls_where_inotify_cannot_see(
    root: Path, monkeypatch: pytest.MonkeyPatch, file_system: str
) -> None:
    monkeypatch.setattr("supervisor.repository.watcher.file_system_of", lambda _: file_system)
    async with watching(root, "auto", 0.001) as (_, looks):
        assert await looks.next() == "poll"


async def test_auto_takes_inotify_on_a_local_file_system(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.repository.watcher.file_system_of", lambda _: "ext4")
    async with watching(root, "auto", 0.001) as (_, looks):
        write_file(root)
        assert await looks.next() == "inotify"


async def test_polling_looks_again_and_again(root: Path) -> None:
    async with watching(root, "poll", 0.001) as (watcher, looks):
        assert not watcher.follow([root])
        for _ in range(5):
            assert await looks.next() == "poll"


async def test_without_inotify_it_polls(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, nonblocking: bool) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("supervisor.repository.watcher.INotify", refuse)
    async with watching(root, "inotify", 0.001) as (_, looks):
        assert await looks.next() == "poll"


async def test_off_watches_nothing(root: Path) -> None:
    before = descriptors()
    async with watching(root, "off", 0.001) as (watcher, _):
        assert not watcher.follow([root])
        assert descriptors() == before


async def test_closing_leaves_no_descriptor_and_no_timer(root: Path) -> None:
    before = descriptors()
    async with watching(root, "inotify") as (_, looks):
        assert descriptors() > before
        write_file(root)
    assert descriptors() == before
    assert looks.triggers == []
