"""The version pointer: `model_version.txt`, whose replacement is the commit point of a publish.

Owns how the file is read and which names are safe. Never follows what it names. Runs in the
supervisor, in the thread that scans the repository.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POINTER_NAME: Final = "model_version.txt"
_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_LIMIT: Final = 4096  # bytes; a name has at most 128


def is_safe_name(name: str) -> bool:
    """Say whether a model or version may be called so: no slash, no leading dot, 128 characters."""
    return _SAFE.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class VersionPointer:
    """What the file says: a version, or why it says none."""

    version: str = ""
    problem: str = ""


def read_pointer(model_directory: Path) -> VersionPointer | None:  # noqa: PLR0911 - one per cause
    """Read the pointer of a model; None when it has none.

    Blanks, line ends of any kind and a byte-order mark around the name are ignored.
    """
    try:
        # Not blocking: a FIFO in its place must not hold the scan up.
        fd = os.open(model_directory / POINTER_NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = os.read(fd, _LIMIT + 1)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        return VersionPointer(problem=f"{POINTER_NAME} cannot be read: {error.strerror}")
    if len(data) > _LIMIT:
        return VersionPointer(problem=f"{POINTER_NAME} is larger than {_LIMIT} bytes")
    try:
        name = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return VersionPointer(problem=f"{POINTER_NAME} is not UTF-8")
    if not name:
        return VersionPointer(problem=f"{POINTER_NAME} is empty")
    if not is_safe_name(name):
        return VersionPointer(
            problem=f"{POINTER_NAME} names {name[:80]!r}, which is no version name: letters, "
            "digits and ._+- only, not starting with one of ._+-"
        )
    return VersionPointer(name)
