"""The manifest: `manifest.json` in a version directory, which lists its files and their SHA-256.

Owns the format, `{"files": {"inference.json": {"sha256": "<hex>", "size": 123}, ...}}`, reading and
writing it. Never reads the listed files while serving; staging compares what it hashed. Runs in the
supervisor and in the command `hotpaddle manifest`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from supervisor.errors import VersionRejected

MANIFEST_NAME: Final = "manifest.json"
_LIMIT: Final = 1 << 20
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """What a manifest says of one file."""

    sha256: str
    size: int


def parse_manifest(data: bytes) -> dict[str, ManifestEntry]:
    """Read a manifest.

    Raises:
        VersionRejected: it is not one; says where.

    """

    def refuse(what: str) -> VersionRejected:
        return VersionRejected("manifest", f"{MANIFEST_NAME}: {what}")

    if len(data) > _LIMIT:
        raise refuse(f"is larger than {_LIMIT} bytes")
    try:
        files = json.loads(data)["files"]
        entries = dict(files.items())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise refuse('is not {"files": {NAME: {"sha256": ..., "size": ...}}}') from error
    return {name: _entry(name, value, refuse) for name, value in entries.items()}


def _entry(name: str, value: Any, refuse: Any) -> ManifestEntry:
    if "/" in name or name in ("", ".", ".."):
        raise refuse(f"{name!r} is not a file of this directory")
    if not isinstance(value, dict) or not _HEX.fullmatch(str(value.get("sha256"))):
        raise refuse(f"files[{name!r}].sha256 must be 64 hexadecimal digits in lower case")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise refuse(f"files[{name!r}].size must be a number of bytes")
    return ManifestEntry(value["sha256"], size)


def check_manifest(
    manifest: Mapping[str, ManifestEntry], staged: Mapping[str, ManifestEntry]
) -> None:
    """Compare a manifest with the hashes of the bytes that were staged.

    Raises:
        VersionRejected: a staged file is not listed, or differs.

    """
    for name, found in staged.items():
        listed = manifest.get(name)
        if listed is None:
            raise VersionRejected("manifest", f"{MANIFEST_NAME} does not list {name}")
        if listed.size != found.size:
            raise VersionRejected(
                "manifest", f"{name} has {found.size} bytes, {MANIFEST_NAME} says {listed.size}"
            )
        if listed.sha256 != found.sha256:
            raise VersionRejected(
                "manifest",
                f"{name} has SHA-256 {found.sha256[:16]}..., {MANIFEST_NAME} says "
                f"{listed.sha256[:16]}...: the file was changed or copied badly",
            )


def write_manifest(directory: Path) -> Path:
    """Write the manifest of a version directory, replacing one that is there; give its path."""
    files = {}
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.name != MANIFEST_NAME and not path.name.startswith("."):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[path.name] = {"sha256": digest, "size": path.stat().st_size}
    target = directory / MANIFEST_NAME
    temporary = directory / f".{MANIFEST_NAME}.tmp"
    temporary.write_text(json.dumps({"files": files}, indent=2) + "\n", encoding="utf-8")
    return temporary.replace(target)
