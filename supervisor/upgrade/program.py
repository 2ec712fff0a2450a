"""The program: the installed code as a command, tried in a child, then put in this one's place.

Owns the command, its environment, and the one call that does not return. Runs in the supervisor.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from supervisor.errors import SettingsError

VARIABLE: Final = "HOTPADDLE_UPGRADE"  # trial:FD or take-up:FD, the document that is kept
_TRIAL_S: Final = 60.0
_LONGEST_REASON: Final = 500


class NotStarted(Exception):  # noqa: N818 - what becomes of a trial, not a defect
    """The program would not start; says why."""


def command_of(argv: Sequence[str], original: Sequence[str], executable: str) -> list[str]:
    """Give the command that started this process, to be run once more.

    A script is run as such, so that its first line may name another interpreter by now; else it
    was `python -m supervisor`. Takes `sys.argv`, `sys.orig_argv`, `sys.executable`.
    """
    script = Path(argv[0]).absolute()  # not resolved: a link may name another one by now
    if script.is_file() and os.access(script, os.X_OK):
        return [str(script), *argv[1:]]
    return [executable, *original[1:]]


def this_command() -> list[str]:
    """Give the command of this process."""
    return command_of(sys.argv, sys.orig_argv, sys.executable)


async def try_it(command: Sequence[str], document: int) -> None:
    """Have the program start in a child, read the document, and end.

    Raises:
        NotStarted: it cannot, or does not understand what is kept.

    """
    environment = {**os.environ, VARIABLE: f"trial:{document}"}
    try:
        child = await asyncio.create_subprocess_exec(
            *command, env=environment, pass_fds=[document], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise NotStarted(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(_TRIAL_S):
            said, _ = await child.communicate()
    except TimeoutError:
        raise NotStarted(f"it was not up within {_TRIAL_S:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        last = lines[-1].removeprefix("hotpaddle: ")[:_LONGEST_REASON]
        raise NotStarted(f"{last} (exit status {child.returncode})")


def replace_this(
    command: Sequence[str], more: Mapping[str, str], document: int, fds: Iterable[int]
) -> None:
    """Put the program in this one's place, with `fds` open; returns only where that failed.

    Raises:
        OSError: it cannot be run; nothing has changed.

    """
    fds = [document, *fds]
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        environment = {**os.environ, **more, VARIABLE: f"take-up:{document}"}
        os.execve(command[0], [*command], environment)  # noqa: S606 - our own command, no shell
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)


def document_of(value: str) -> tuple[str, int]:
    """Read the variable: `trial` or `take-up`, and the document's descriptor.

    Raises:
        SettingsError: it is neither.

    """
    mode, _, fd = value.partition(":")
    if mode not in ("trial", "take-up") or not fd.isascii() or not fd.isdigit():
        raise SettingsError(f"{VARIABLE} is for the server itself, not for its settings")
    return mode, int(fd)
