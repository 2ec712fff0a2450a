"""The watcher: notices that something in the repository may have changed.

Owns inotify, the poll timer and the choice between them. A watcher only says "look"; it never reads
the repository nor decides. Runs on the supervisor's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import psutil
import structlog
from inotify_simple import INotify, flags

log = structlog.get_logger()

# inotify reports what this host writes; on these the writer may be another one.
REMOTE_FILE_SYSTEMS: Final = (
    "nfs", "cifs", "smb", "fuse", "9p", "overlay", "ceph", "lustre", "afs", "glusterfs", "virtiofs",
    "gpfs", "beegfs",
)  # fmt: skip
_EVENTS: Final = (
    flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.CLOSE_WRITE
    | flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF
)  # fmt: skip
# Writers touch several files at once; look when they have paused for so long.
_DEBOUNCE_S: Final = 0.02
# Beside inotify: what it cannot see (the target of a link elsewhere) is found a little later.
_SAFETY_POLL_S: Final = 30.0

Look = Callable[[str], None]


def file_system_of(path: Path) -> str:
    """Name the type of the file system that holds `path` ("" when unknown)."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return ""
    best, kind = "", ""
    for partition in psutil.disk_partitions(all=True):
        mount = partition.mountpoint
        inside = target == Path(mount) or Path(mount) in target.parents
        if inside and len(mount) >= len(best):
            best, kind = mount, partition.fstype
    return kind


def must_poll(file_system: str) -> bool:
    """Say whether inotify cannot be relied on there."""
    return file_system.startswith(REMOTE_FILE_SYSTEMS)


class Watcher:
    """Calls `look(trigger)` on changes. `mode` is auto, inotify, poll or off."""

    def __init__(self, root: Path, mode: str, poll_interval_s: float, look: Look) -> None:
        self._root = root
        self._look = look
        self._interval = poll_interval_s
        self._loop = asyncio.get_running_loop()
        self._inotify: INotify | None = None
        self._watched: dict[Path, int] = {}
        self._pending: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._mode = mode
        self._sees_all = False  # inotify watches every directory that matters
        self._warned = False

    def start(self) -> None:
        """Begin to watch; says in the log how."""
        file_system = file_system_of(self._root)
        poll = self._mode == "poll" or (self._mode == "auto" and must_poll(file_system))
        if self._mode != "off" and not poll:
            try:
                self._inotify = INotify(nonblocking=True)
            except OSError as error:
                log.warning("inotify is not to be had, polling instead", reason=error.strerror)
            else:
                self._loop.add_reader(self._inotify.fileno(), self._read)
        if self._mode != "off":
            self._poll_later()
        how = "inotify" if self._inotify else self._mode if self._mode == "off" else "poll"
        log.info("watching the model repository", how=how, file_system=file_system or "unknown")

    def follow(self, directories: Iterable[Path]) -> bool:
        """Watch exactly these directories; true when a new one came in (look once more then)."""
        if self._inotify is None:
            return False
        wanted = set(directories)
        self._sees_all = bool(wanted)
        for gone in self._watched.keys() - wanted:
            self._forget(gone)
        added = False
        for path in wanted:
            try:
                # Again for known ones too: the name may stand for another directory by now.
                watch = self._inotify.add_watch(path, _EVENTS)
            except OSError as error:
                self._sees_all = False
                if not self._warned:
                    self._warned = True
                    log.warning(
                        "inotify cannot watch a directory, polling beside it; raise "
                        "fs.inotify.max_user_watches if it is the limit",
                        path=str(path), reason=error.strerror,
                    )  # fmt: skip
                continue
            if self._watched.get(path) != watch:
                if path in self._watched:  # another directory had this name
                    self._forget(path)
                self._watched[path] = watch
                added = True
        self._poll_later()
        return added

    def _forget(self, path: Path) -> None:
        watch = self._watched.pop(path)
        if self._inotify is not None and watch not in self._watched.values():
            try:
                self._inotify.rm_watch(watch)
            except OSError:
                return  # the kernel dropped it with the directory

    def _read(self) -> None:
        if self._inotify is not None and self._inotify.read(timeout=0) and self._pending is None:
            self._pending = self._loop.call_later(_DEBOUNCE_S, self._tell)

    def _tell(self) -> None:
        self._pending = None
        self._look("inotify")

    def _poll_later(self) -> None:
        """Set the next poll; far away where inotify sees everything."""
        if self._mode == "off":
            return
        if self._timer is not None:
            self._timer.cancel()
        interval = max(self._interval, _SAFETY_POLL_S) if self._sees_all else self._interval
        self._timer = self._loop.call_later(interval, self._poll)

    def _poll(self) -> None:
        self._poll_later()
        self._look("poll")

    def close(self) -> None:
        """Stop watching."""
        for timer in (self._pending, self._timer):
            if timer is not None:
                timer.cancel()
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
