"""The cut: a request's JSON, and the long number lists taken out of it.

Owns where a list starts and ends and what stands in its place. A wrong cut is never taken for a
right one: the mark is a text that no client can know, so where the rest parses and holds it as a
value, the list was a value of its own at that place. Pure. Runs in the JSON worker.
"""

from __future__ import annotations

import re
import secrets
from typing import Final, NamedTuple

_DATA: Final = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_BLOCK: Final = 64 << 10  # bytes looked through at a time; they are copied for it, within the cache
SHORTEST: Final = 1 << 10  # bytes; a shorter list stays where it is
_MOST_LISTS: Final = 64  # more are no request that is worth it


class Cut(NamedTuple):
    """A JSON text with marks in place of lists, and the list that each mark stands for."""

    rest: bytes
    lists: dict[str, memoryview]


def cut_lists(text: memoryview, shortest: int = SHORTEST) -> Cut:
    """Take long lists that follow `"data":` out of a JSON text; other text stays as it is.

    A list is a view of `text`, from its first bracket to its last. It may hold anything.
    """
    secret = secrets.token_hex(16)
    lists: dict[str, memoryview] = {}
    rest: list[bytes | memoryview] = []
    kept = at = 0
    for _ in range(_MOST_LISTS):
        match = _DATA.search(text, at)
        if match is None:
            break
        start = match.end()
        end, at = _list_end(text, start)
        if end - start >= shortest:
            mark = f"{secret}-{len(lists)}"
            lists[mark] = text[start:end]
            rest += [text[kept:start], f'"{mark}"'.encode()]
            kept = end
    rest.append(text[kept:])
    return Cut(b"".join(rest), lists)


def _list_end(text: memoryview, start: int) -> tuple[int, int]:
    """Give the end of a list of numbers that starts at `start`, and where to look further.

    That is the last `]` before what no such list holds; no end, `start` itself, where none is near.
    """
    for at in range(start, len(text), _BLOCK):
        block = bytes(text[at : at + _BLOCK])
        found = [place for place in (block.find(b'"'), block.find(b"}")) if place >= 0]
        if found:
            stop = at + min(found)
            near = max(start, stop - _BLOCK)
            end = bytes(text[near:stop]).rfind(b"]") + 1
            return near + end if end else start, stop
    return start, len(text)
