"""Staging: a private, sealed copy of a version's bytes, hashed while it is made.

Owns the copies: memfds that nobody can write any more, so that what was checked is what runs, and
that vanish with the last process that holds them. Blocking file I/O: `stage` runs in a thread of
the supervisor (hashing and copying release the interpreter lock).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpu_worker.ipc.io_priority import io_last
from supervisor.errors import RepositoryError, VersionFailed, VersionRejected
from supervisor.host_memory import available_bytes
from supervisor.repository.layout import VersionListing
from supervisor.repository.manifest import (
    MANIFEST_NAME,
    ManifestEntry,
    check_manifest,
    parse_manifest,
)

_CHUNK: Final = 1 << 20
_SMALL: Final = 1 << 20  # bytes of a manifest or of settings
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


@dataclass(slots=True)
class StagedVersion:
    """The bytes of one version, held in memory until `close`.

    `digest` is the SHA-256 over names and hashes of program, parameters and settings.
    """

    program_fd: int
    params_fd: int
    suffix: str
    digest: str
    size: int
    settings_data: bytes
    files: dict[str, ManifestEntry]
    manifest_data: bytes | None
    _closed: bool = False

    @property
    def platform(self) -> str:
        """Name of the format, as the Open Inference Protocol builds it."""
        return "paddle_pir" if self.suffix == ".json" else "paddle_inference"

    def close(self) -> None:
        """Give the memory back (once)."""
        if not self._closed:
            self._closed = True
            os.close(self.program_fd)
            os.close(self.params_fd)


def stage(listing: VersionListing) -> StagedVersion:
    """Copy and hash a version; `verify` compares it with its manifest.

    Raises:
        VersionRejected: a file is missing or empty.
        VersionFailed: a file cannot be read, or memory is short.

    """
    if listing.problem:
        raise VersionRejected("incomplete", listing.problem)
    held: list[int] = []
    try:
        _check_memory(listing)
        staged = {}
        with io_last():
            for name in (listing.program, listing.params):
                fd, entry = _copy(listing.path / name)
                held.append(fd)
                staged[name] = entry
        settings_data = _read_small(listing.settings_path) if listing.settings_path else b""
        manifest_data = _read_small(listing.path / MANIFEST_NAME) if listing.has_manifest else None
    except OSError as error:
        _close_all(held)
        where = f" ({error.filename})" if error.filename else ""
        raise VersionFailed("staging", f"cannot be staged: {error.strerror}{where}") from error
    except RepositoryError:
        _close_all(held)
        raise
    digest = hashlib.sha256(b"hotpaddle 1\n")
    digest.update(settings_data)
    for name, entry in staged.items():
        digest.update(f"{Path(name).suffix} {entry.sha256}\n".encode())
    size = sum(entry.size for entry in staged.values())
    if listing.settings_path is not None and listing.settings_path.parent == listing.path:
        found = hashlib.sha256(settings_data).hexdigest()  # the version's own: its manifest counts
        staged[listing.settings_path.name] = ManifestEntry(found, len(settings_data))
    return StagedVersion(
        held[0],
        held[1],
        Path(listing.program).suffix,
        digest.hexdigest(),
        size,
        settings_data,
        staged,
        manifest_data,
    )


def verify(version: StagedVersion) -> None:
    """Compare the staged bytes with the manifest, where there is one.

    Raises:
        VersionRejected: the manifest is none, or says otherwise.

    """
    if version.manifest_data is not None:
        check_manifest(parse_manifest(version.manifest_data), version.files)


def size_of(listing: VersionListing) -> int:
    """Give the bytes that a version's copy takes.

    Raises:
        OSError: a file is not there.

    """
    return sum((listing.path / name).stat().st_size for name in (listing.program, listing.params))


def _check_memory(listing: VersionListing) -> None:
    """Refuse what can never fit before the copy has driven anybody out of memory."""
    size, available = size_of(listing), available_bytes()
    if size > available:
        raise VersionFailed(
            "memory", f"cannot be staged: it has {size} bytes, {available} bytes of memory are free"
        )


def _read_small(path: Path) -> bytes:
    """Read a manifest or settings; one that is not small is none, and is cut to be refused."""
    with path.open("rb") as file:
        return file.read(_SMALL + 1)


def _copy(path: Path) -> tuple[int, ManifestEntry]:
    """Copy one file into a sealed memfd."""
    digest = hashlib.sha256()
    size = 0
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as source:
        fd = os.memfd_create("hotpaddle-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            while count := source.readinto(buffer):
                digest.update(buffer[:count])
                written = 0
                while written < count:
                    written += os.write(fd, buffer[written:count])
                size += count
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except OSError:
            os.close(fd)
            raise
    if not size:
        os.close(fd)
        raise VersionRejected("incomplete", f"{path.name} is empty")
    return fd, ManifestEntry(digest.hexdigest(), size)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
