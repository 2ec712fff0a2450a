"""Staging: sealed copies, their digest, and the descriptors they hold."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.errors import RepositoryError, VersionFailed, VersionRejected
from supervisor.repository.layout import VersionListing, scan_model
from supervisor.repository.manifest import ManifestEntry, write_manifest
from supervisor.repository.staging import StagedVersion, stage, verify

PROGRAM = b'{"program": 1}'
PARAMS = b"\x01\x02" * 1_000_000


@pytest.fixture
def version(tmp_path: Path) -> Path:
    directory = tmp_path / "model/v1"
    directory.mkdir(parents=True)
    (directory / "m.json").write_bytes(PROGRAM)
    (directory / "m.pdiparams").write_bytes(PARAMS)
    return directory


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = memfds()
    yield
    assert memfds() == before


def memfds() -> list[str]:
    """List this process's descriptors of staged files."""
    found = []
    for fd in list(Path("/proc/self/fd").iterdir()):
        try:
            target = str(fd.readlink())
        except OSError:
            continue  # the one that listed the directory
        if "hotpaddle-model" in target:
            found.append(fd.name)
    return found


def listing(version: Path) -> VersionListing:
    return scan_model(version.parent).versions[version.name]


def digest(version: Path) -> str:
    staged = stage(listing(version))
    staged.close()
    return staged.digest


def read(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def test_the_copy_holds_the_bytes_and_their_hashes(version: Path) -> None:
    staged = stage(listing(version))
    assert (read(staged.program_fd), read(staged.params_fd)) == (PROGRAM, PARAMS)
    assert (staged.suffix, staged.size) == (".json", len(PROGRAM) + len(PARAMS))
    assert (staged.settings_data, staged.manifest_data) == (b"", None)
    assert staged.files == {
        name: ManifestEntry(hashlib.sha256(data).hexdigest(), len(data))
        for name, data in (("m.json", PROGRAM), ("m.pdiparams", PARAMS))
    }
    staged.close()


def test_nobody_can_write_or_resize_the_copy(version: Path) -> None:
    staged = stage(listing(version))
    for fd in (staged.program_fd, staged.params_fd):
        for attempt in (
            lambda fd=fd: os.pwrite(fd, b"x", 0),
            lambda fd=fd: os.ftruncate(fd, 1),
            lambda fd=fd: os.ftruncate(fd, 1 << 22),
            lambda fd=fd: mmap.mmap(fd, 1, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
        ):
            with pytest.raises(PermissionError):
                attempt()
    assert read(staged.program_fd) == PROGRAM
    staged.close()


def test_later_changes_of_the_repository_do_not_reach_the_copy(version: Path) -> None:
    staged = stage(listing(version))
    (version / "m.json").write_bytes(b"other")
    assert read(staged.program_fd) == PROGRAM
    staged.close()


def test_the_digest_is_that_of_the_content(version: Path) -> None:
    first = digest(version)
    assert len(first) == 64
    os.utime(version / "m.json", ns=(0, 0))
    assert digest(version) == first
    assert digest(version.rename(version.parent / "v2")) == first


@pytest.mark.parametrize(
    ("name", "data"),
    [("m.json", PROGRAM[:-1] + b" "), ("m.pdiparams", PARAMS + b"\0"), ("model.toml", b"#")],
)
def test_another_content_is_another_digest(version: Path, name: str, data: bytes) -> None:
    before = digest(version)
    (version / name).write_bytes(data)
    assert digest(version) != before


def test_bytes_that_move_between_the_files_change_the_digest(version: Path) -> None:
    (version / "m.json").write_bytes(b"ab")
    (version / "m.pdiparams").write_bytes(b"c")
    before = digest(version)
    (version / "m.json").write_bytes(b"a")
    (version / "m.pdiparams").write_bytes(b"bc")
    assert digest(version) != before


@pytest.mark.parametrize("name", ["m.json", "m.pdiparams"])
def test_an_empty_file_is_refused(version: Path, name: str) -> None:
    (version / name).write_bytes(b"")
    with pytest.raises(VersionRejected, match=f"{name} is empty") as caught:
        stage(listing(version))
    assert caught.value.kind == "incomplete"


def test_a_version_with_a_problem_is_refused_for_it(version: Path) -> None:
    (version / "m.json").unlink()
    with pytest.raises(VersionRejected, match=r"holds m\.pdiparams but neither m\.json"):
        stage(listing(version))


@pytest.mark.parametrize("name", ["m.json", "m.pdiparams", "manifest.json", "model.toml"])
def test_a_file_that_vanishes_after_the_scan_fails_the_version(version: Path, name: str) -> None:
    (version / "model.toml").write_bytes(b"")
    write_manifest(version)
    seen = listing(version)
    (version / name).unlink()
    with pytest.raises(VersionFailed, match=f"No such file or directory .*{name}") as caught:
        stage(seen)
    assert caught.value.kind == "staging"


def test_a_file_that_became_a_directory_fails_the_version(version: Path) -> None:
    seen = listing(version)
    (version / "m.pdiparams").unlink()
    (version / "m.pdiparams").mkdir()
    with pytest.raises(RepositoryError):
        stage(seen)


def test_closing_gives_the_descriptors_back_once(version: Path) -> None:
    before = memfds()
    staged = stage(listing(version))
    assert len(memfds()) == len(before) + 2
    staged.close()
    assert memfds() == before
    with (version / "m.json").open("rb") as reused:  # takes a number that was just given back
        staged.close()
        assert reused.read() == PROGRAM


def tampered(version: Path, name: str) -> StagedVersion:
    write_manifest(version)
    data = (version / name).read_bytes()
    (version / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    return stage(listing(version))


def test_what_matches_its_manifest_is_verified(version: Path) -> None:
    (version / "model.toml").write_bytes(b"instances = 2")
    write_manifest(version)
    staged = stage(listing(version))
    verify(staged)
    staged.close()


def test_a_version_without_manifest_is_verified(version: Path) -> None:
    staged = stage(listing(version))
    verify(staged)
    staged.close()


@pytest.mark.parametrize("name", ["m.json", "m.pdiparams", "model.toml"])
def test_one_bit_that_differs_from_the_manifest_is_refused(version: Path, name: str) -> None:
    (version / "model.toml").write_bytes(b"instances = 2")
    staged = tampered(version, name)
    with pytest.raises(VersionRejected, match=f"{name} has SHA-256 .*: the file was changed"):
        verify(staged)
    staged.close()


def test_the_models_settings_are_not_the_versions_manifests_business(version: Path) -> None:
    write_manifest(version)
    (version.parent / "model.toml").write_bytes(b"instances = 2")
    staged = stage(listing(version))
    assert staged.settings_data == b"instances = 2"
    verify(staged)
    staged.close()


@pytest.mark.parametrize("data", [b"", b"{}", b'{"files": {}}'])
def test_a_bad_manifest_is_refused(version: Path, data: bytes) -> None:
    staged = replace(stage(listing(version)), manifest_data=data)
    with pytest.raises(VersionRejected, match="manifest"):
        verify(staged)
    staged.close()
