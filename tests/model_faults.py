"""Ways in which a model directory goes wrong, each done in place to a model that was right.

Owns the damage to files; what Paddle makes of it stands beside each function, as seen on 3.3.1 and
2.6.2. Never imports paddle and never mends anything. Tests run it in their own process.
"""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PARAMS: Final = "inference.pdiparams"


def truncate(directory: Path) -> None:
    """Cut the program in half, as a copy that was broken off. Paddle raises at load."""
    _cut(program_of(directory))


def truncate_params(directory: Path) -> None:
    """Cut the parameters in half. Paddle raises at load."""
    _cut(directory / _PARAMS)


def shorten_params(directory: Path) -> None:
    """Cut off the last byte of the parameters.

    Paddle notices nothing and answers wrongly: only a hash can tell.
    """
    params = directory / _PARAMS
    params.write_bytes(params.read_bytes()[:-1])


def garbage(directory: Path) -> None:
    """Put random bytes in the program's place. Paddle raises at a .json, dies of a .pdmodel."""
    program_of(directory).write_bytes(random.Random(1).randbytes(4096))


def garbage_params(directory: Path) -> None:
    """Put random bytes in the parameters' place. Paddle raises at load."""
    (directory / _PARAMS).write_bytes(random.Random(1).randbytes(4096))


def missing_params(directory: Path) -> None:
    """Delete the parameters.

    Paddle raises at a .pdmodel, but loads a .json and answers from memory it never wrote to.
    """
    (directory / _PARAMS).unlink()


def missing_program(directory: Path) -> None:
    """Delete the program. Paddle raises at load."""
    program_of(directory).unlink()


def swap_params(directory: Path, other_directory: Path) -> None:
    """Take another model's parameters.

    Paddle loads what has the right names: with other shapes it raises at the first run, with the
    same shapes it answers as the other model.
    """
    shutil.copyfile(other_directory / _PARAMS, directory / _PARAMS)


def replace(directory: Path, other_directory: Path) -> None:
    """Put another model in its place, whole."""
    shutil.rmtree(directory)
    shutil.copytree(other_directory, directory)


def unknown_operator(directory: Path) -> None:
    """Rename an operator to one that Paddle lacks; inputs and outputs stay readable.

    Paddle raises at a .json, and a .pdmodel kills the process with a segmentation fault.
    """
    _replace_once(program_of(directory), b"relu", b"rexu")


def corrupt_protobuf(directory: Path) -> None:
    """Rename one parameter of a .pdmodel where it is declared; inputs and outputs stay readable.

    Paddle's process dies of a segmentation fault at load.
    """
    _replace_once(directory / "inference.pdmodel", b"linear_0.w_0", b"linear_0.x_0")


def program_of(directory: Path) -> Path:
    """Give the path of a model's program file, whichever format it has."""
    (program,) = (
        path
        for path in (directory / "inference.json", directory / "inference.pdmodel")
        if path.exists()
    )
    return program


def _cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _replace_once(file: Path, old: bytes, new: bytes) -> None:
    content = file.read_bytes()
    if old not in content:
        raise ValueError(f"{file} does not contain {old!r}")
    file.write_bytes(content.replace(old, new, 1))
