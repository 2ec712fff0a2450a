"""The load folder: links with proper names to staged descriptors, there while a worker loads.

Owns its name, which holds the worker's process id, and the removal of those whose worker died in
the middle of a load. Links only, no data. The worker makes it, the supervisor tidies up.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"hotpaddle-load-(\d+)-\w+")


def load_folder_prefix(pid: int) -> str:
    """Give the start of the folder's name for the worker `pid`."""
    return f"hotpaddle-load-{pid}-"


def remove_left_load_folders() -> None:
    """Remove this user's load folders whose worker is dead."""
    for path in Path(tempfile.gettempdir()).glob("hotpaddle-load-*"):
        name = _NAME.fullmatch(path.name)
        with contextlib.suppress(OSError):  # another supervisor may tidy up at the same time
            if name is None or path.lstat().st_uid != os.getuid() or path.is_symlink():
                continue
            if not Path(f"/proc/{name[1]}").exists():
                for link in path.iterdir():
                    link.unlink()
                path.rmdir()
