"""The command `hotpaddle install-systemd`: units, user, directories and settings put in place.

Owns where each file goes and what an operator does next. Starts and enables nothing. Runs in the
process of the command.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import Final

from supervisor.errors import HotpaddleError

UNITS: Final = Path(__file__).parent / "units"
_SETTINGS: Final = "hotpaddle.toml"
_NOTIFY_RELOAD: Final = "hotpaddle.service.d/50-notify-reload.conf"
_PLACES: Final = {
    "hotpaddle.service": "etc/systemd/system/hotpaddle.service",
    "hotpaddle.socket": "etc/systemd/system/hotpaddle.socket",
    "hotpaddle-admin.socket": "etc/systemd/system/hotpaddle-admin.socket",
    _NOTIFY_RELOAD: f"etc/systemd/system/{_NOTIFY_RELOAD}",
    "sysusers.d/hotpaddle.conf": "etc/sysusers.d/hotpaddle.conf",
    "tmpfiles.d/hotpaddle.conf": "etc/tmpfiles.d/hotpaddle.conf",
    _SETTINGS: "etc/hotpaddle/hotpaddle.toml",
}
_COMMAND: Final = "@HOTPADDLE@"
_PLAIN: Final = re.compile(r"[\w/.+@~-]+")  # what a unit takes without quotes
_HOMES: Final = ("/home/", "/root/", "/run/user/")
_NOTIFY_RELOAD_SINCE: Final = 253
_LIBRARIES: Final = ("usr/lib*", "usr/lib*/*", "lib*", "lib*/*")
_NEXT: Final = """next, as root:
  systemd-sysusers && systemd-tmpfiles --create    the user and /srv/models
  nano /etc/hotpaddle/hotpaddle.toml               devices, model repository
  systemctl daemon-reload
  systemctl enable --now hotpaddle.socket hotpaddle-admin.socket hotpaddle.service
  systemctl status hotpaddle
after an update of Hotpaddle: systemctl restart hotpaddle"""


def install_systemd(root: Path, *, dry_run: bool) -> int:
    """Write the files below `root`, print what was done and what comes next.

    Raises:
        HotpaddleError: this command's own path is of no use in a unit, or a file cannot be written.

    """
    command = _command()
    version = systemd_version(root)
    for name, place in _PLACES.items():
        target = root / place
        text = (UNITS / name).read_text(encoding="utf-8").replace(_COMMAND, command)
        if name == _NOTIFY_RELOAD and version < _NOTIFY_RELOAD_SINCE:
            print(f"left out  {target}: for systemd {_NOTIFY_RELOAD_SINCE} and newer")
        elif name == _SETTINGS and target.exists():
            print(f"kept      {target}")
        elif dry_run:
            print(f"would write {target}")
        else:
            _write(target, text)
            print(f"wrote     {target}")
    for path in {command, os.path.realpath(sys.executable)}:
        if path.startswith(_HOMES):
            print(
                f"hotpaddle: {path} lies in a home directory, which the unit hides from the "
                "service (ProtectHome); install Hotpaddle into a place such as /opt/hotpaddle",
                file=sys.stderr,
            )
    print(_NEXT)
    return 0


def systemd_version(root: Path) -> int:
    """Give the version of the systemd that is installed below `root`, 0 where it is not known."""
    found = [
        int(match[1])
        for folder in _LIBRARIES
        for path in root.glob(f"{folder}/systemd/libsystemd-shared-*.so")
        if (match := re.match(r"libsystemd-shared-(\d+)", path.name))
    ]
    return max(found, default=0)


def _command() -> str:
    path = Path(sysconfig.get_path("scripts")) / "hotpaddle"
    if not path.exists():
        raise HotpaddleError(f"{path} is not there: install Hotpaddle with pip first")
    if not _PLAIN.fullmatch(str(path)):
        raise HotpaddleError(f"{path} holds characters that a unit cannot; install it elsewhere")
    return str(path)


def _write(target: Path, text: str) -> None:
    """Replace a file by a whole one."""
    temporary = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        raise HotpaddleError(
            f"{target}: cannot be written: {error.strerror} (run it as root, or give --root)"
        ) from error
