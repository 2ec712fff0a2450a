"""The program: which command it is, how a trial ends, and what the variable says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.errors import SettingsError
from supervisor.upgrade import program
from supervisor.upgrade.program import VARIABLE, NotStarted, command_of, document_of, try_it


@pytest.fixture
def document() -> Iterator[int]:
    fd = os.memfd_create("document")
    os.write(fd, b"kept")
    yield fd
    os.close(fd)


async def test_a_script_is_run_as_such_whatever_it_links_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, link = tmp_path / "one", tmp_path / "hotpaddle"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    link.symlink_to(script)
    monkeypatch.chdir(tmp_path)
    original = [sys.executable, "hotpaddle", "serve", "--port", "0"]
    command = command_of(["hotpaddle", "serve", "--port", "0"], original, sys.executable)
    assert command == [str(link), "serve", "--port", "0"]


def test_a_module_is_run_by_this_interpreter(tmp_path: Path) -> None:
    main = tmp_path / "__main__.py"
    main.write_text("")
    original = ["python3", "-X", "dev", "-m", "supervisor", "serve"]
    command = command_of([str(main), "serve"], original, "/usr/bin/python3")
    assert command == ["/usr/bin/python3", "-X", "dev", "-m", "supervisor", "serve"]


async def test_a_trial_is_given_the_document(document: int) -> None:
    reads = f"""
import os
mode, fd = os.environ[{VARIABLE!r}].split(":")
assert mode == "trial" and os.pread(int(fd), 9, 0) == b"kept"
"""
    await try_it([sys.executable, "-c", reads], document)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('hotpaddle: no'); raise SystemExit(2)", r"^no \(exit status 2\)$"),
        ("raise ValueError('early')", r"^ValueError: early \(exit status 1\)$"),
        ("import os; os.kill(os.getpid(), 9)", r"^it said nothing \(exit status -9\)$"),
    ],
)
async def test_a_trial_that_fails_says_why(document: int, code: str, reason: str) -> None:
    with pytest.raises(NotStarted, match=reason):
        await try_it([sys.executable, "-c", code], document)


async def test_a_program_that_is_not_there_is_named(document: int) -> None:
    with pytest.raises(NotStarted, match="/no/where cannot be run: No such file"):
        await try_it(["/no/where"], document)


async def test_a_trial_has_its_time(document: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_TRIAL_S", 0.2)
    with pytest.raises(NotStarted, match=r"not up within 0\.2 s"):
        await try_it([sys.executable, "-c", "import time; time.sleep(60)"], document)


def test_what_cannot_be_put_in_place_leaves_everything_as_it_was(document: int) -> None:
    other = os.dup(document)
    with pytest.raises(OSError, match="No such file"):
        program.replace_this(["/no/where"], {}, document, [other])
    assert not os.get_inheritable(document)
    assert not os.get_inheritable(other)
    os.close(other)


@pytest.mark.parametrize(
    ("value", "read"), [("trial:3", ("trial", 3)), ("take-up:17", ("take-up", 17))]
)
def test_the_variable_says_what_to_do(value: str, read: tuple[str, int]) -> None:
    assert document_of(value) == read


@pytest.mark.parametrize("value", ["1", "trial", "trial:", "trial:x", "take:3", ":3", "trial:-1"])
def test_anything_else_in_the_variable_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=VARIABLE):
        document_of(value)
