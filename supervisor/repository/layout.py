"""The layout of a model repository: what lies there at this moment.

Owns the scan: root, models, versions, the files of a version and their fingerprint. Reads names and
metadata only, never a model file, and decides nothing. Runs in a thread of the supervisor, since a
remote file system may take its time::

    REPOSITORY/
      ocr/                    a model
        model_version.txt     version pointer (optional)
        model.toml            the model's settings (optional)
        v7/                   a version: NAME.json or NAME.pdmodel, NAME.pdiparams,
          inference.json      manifest.json and model.toml optional
          inference.pdiparams
      fraud/                  a flat model: no version directories
        inference.pdmodel
        inference.pdiparams
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from supervisor.repository.manifest import MANIFEST_NAME
from supervisor.repository.version_pointer import (
    VersionPointer,
    is_safe_name,
    read_pointer,
)

SETTINGS_NAME: Final = "model.toml"
PARAMS_SUFFIX: Final = ".pdiparams"
PROGRAM_SUFFIXES: Final = (".json", ".pdmodel")


@dataclass(frozen=True, slots=True)
class VersionListing:
    """One version's files as they were at the scan.

    `fingerprint` changes whenever a file is written, replaced, added or removed; `newest_ctime` is
    the latest change in seconds since the epoch; `problem` says why it cannot be loaded.
    """

    name: str
    path: Path
    settings_path: Path | None = None
    program: str = ""
    params: str = ""
    has_manifest: bool = False
    fingerprint: str = ""
    newest_ctime: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ModelListing:
    """One model: its pointer and versions (newest last), or its flat files."""

    name: str
    path: Path
    pointer: VersionPointer | None = None
    versions: dict[str, VersionListing] = field(default_factory=dict)
    flat: VersionListing | None = None
    problem: str = ""

    @property
    def is_blank(self) -> bool:
        """Say whether nothing in the directory speaks of a model (`lost+found`, a first mkdir)."""
        return self.pointer is None and not self.versions and self.flat is None and not self.problem


@dataclass(frozen=True, slots=True)
class RepositoryListing:
    """The whole repository, or why it could not be read."""

    models: dict[str, ModelListing] = field(default_factory=dict)
    directories: tuple[Path, ...] = ()
    problem: str = ""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Order versions as people do: v9 before v10, 2024.9 before 2024.10."""
    parts = re.findall(r"\d+|\D+", name)
    key = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return (*key, (-1, 0, name))  # v01 and v1 differ too: the newest is the same at every scan


def scan(root: Path) -> RepositoryListing:
    """List the repository. Never raises for what lies there: problems are part of the listing."""
    try:
        names = sorted(entry.name for entry in os.scandir(root) if _is_directory(entry))
    except OSError as error:
        return RepositoryListing(
            problem=f"model repository {root} cannot be read: {error.strerror}"
        )
    models = {name: scan_model(root / name) for name in names if is_safe_name(name)}
    directories = [root]
    for model in models.values():
        directories.append(model.path)
        if model.pointer is None:
            directories.extend(version.path for version in model.versions.values())
        elif model.pointer.version in model.versions:
            directories.append(model.versions[model.pointer.version].path)
    return RepositoryListing(models, tuple(directories))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Say whether an entry is a directory; a link that leads in a circle or nowhere is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def scan_model(path: Path) -> ModelListing:
    """List one model. Never raises for what lies there."""
    try:
        entries = list(os.scandir(path))
        directories = [e.name for e in entries if is_safe_name(e.name) and _is_directory(e)]
        flat = any(e.name.endswith(PARAMS_SUFFIX) and e.name[0] != "." for e in entries)
    except OSError as error:
        return ModelListing(path.name, path, problem=f"cannot be read: {error.strerror}")
    pointer = read_pointer(path)
    settings = path / SETTINGS_NAME
    versions = {}
    for name in sorted(directories, key=natural_key):
        # With a pointer only the version it names matters: a repository may hold hundreds.
        if pointer is None or pointer.version == name:
            versions[name] = _scan_version(name, path / name, settings)
    flat_listing = None
    if flat and pointer is None and not versions:
        flat_listing = _scan_version("", path, settings)
    return ModelListing(path.name, path, pointer, versions, flat_listing)


def _scan_version(name: str, path: Path, model_settings: Path) -> VersionListing:
    try:
        stats = {
            entry.name: entry.stat()
            for entry in list(os.scandir(path))
            if not entry.name.startswith(".") and entry.is_file()
        }
    except OSError as error:
        return VersionListing(name, path, problem=f"cannot be read: {error.strerror}")
    settings_path: Path | None = path / SETTINGS_NAME
    if SETTINGS_NAME not in stats:  # then the model's, if that is a file and no pipe
        settings_path = model_settings if model_settings.is_file() else None
    marks = hashlib.sha256()
    relevant = sorted(stats.items())
    if settings_path is not None:
        with contextlib.suppress(OSError):  # it went just now: its absence is the next wish
            relevant.append((str(settings_path), settings_path.stat()))
    for file, stat in relevant:
        marks.update(os.fsencode(file))  # a name need not be UTF-8
        marks.update(
            f"|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}\n".encode()
        )
    program, params, problem = _pick_files([file for file in stats if file.isprintable()])
    return VersionListing(
        name,
        path,
        settings_path,
        program,
        params,
        MANIFEST_NAME in stats,
        marks.hexdigest()[:32],
        max((stat.st_ctime for stat in stats.values()), default=0.0),
        problem,
    )


def _pick_files(names: list[str]) -> tuple[str, str, str]:
    """Find the program and the parameters: they share the stem of the one .pdiparams file."""
    params = sorted(name for name in names if name.endswith(PARAMS_SUFFIX))
    if not params:
        return "", "", f"holds no *{PARAMS_SUFFIX} file"
    if len(params) > 1:
        return "", "", f"holds several parameter files: {', '.join(params)}; keep one"
    stem = params[0].removesuffix(PARAMS_SUFFIX)
    for suffix in PROGRAM_SUFFIXES:
        if stem + suffix in names:
            return stem + suffix, params[0], ""
    return "", "", f"holds {params[0]} but neither {stem}.json nor {stem}.pdmodel"
