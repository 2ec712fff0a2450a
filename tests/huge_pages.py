"""Whether this kernel gathers huge pages, of the size that tests reckon with."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest

HUGE: Final = 2 << 20
_SETTINGS: Final = Path("/sys/kernel/mm/transparent_hugepage")


def _gathers() -> bool:
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if version is None or (int(version[1]), int(version[2])) < (6, 1):
        return False
    try:
        allowed = "[never]" not in (_SETTINGS / "enabled").read_text()
        return allowed and int((_SETTINGS / "hpage_pmd_size").read_text()) == HUGE
    except OSError:
        return False


needs_huge_pages = pytest.mark.skipif(
    not _gathers(), reason="this kernel gathers no huge pages of 2 MB"
)
