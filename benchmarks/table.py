"""Plain tables for a terminal. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def table(lines: Sequence[Sequence[str]], gap: int = 2) -> str:
    """Align columns: the first line is the header; columns of figures stand right."""
    if not lines:
        return ""
    columns = list(zip(*lines, strict=True))
    widths = [max(_width(cell) for cell in column) for column in columns]
    right = [all(_is_figure(cell) for cell in column[1:]) for column in columns]
    return "\n".join(
        (" " * gap)
        .join(
            _pad(cell, width, right=to_right)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        .rstrip()
        for line in lines
    )


def _is_figure(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "-+<"


def _width(cell: str) -> int:
    return sum(not unicodedata.combining(character) for character in cell)


def _pad(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space
