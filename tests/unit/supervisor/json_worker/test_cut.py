"""The cut: long lists are taken out, what is left says where they were."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from supervisor.json_worker.cut import cut_lists

LONG = b"[" + b"1, " * 400 + b"1]"


def put_back(value: Any, lists: dict[str, memoryview]) -> Any:
    if isinstance(value, dict):
        return {key: put_back(one, lists) for key, one in value.items()}
    if isinstance(value, list):
        return [put_back(one, lists) for one in value]
    return orjson.loads(lists[value]) if isinstance(value, str) and value in lists else value


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b'{"inputs":[{"data":%s}]}' % LONG, 1),
        (b'{"inputs":[{"data" :\n %s ,"name":"x"}]}' % LONG, 1),
        (b'{"inputs":[{"data":%s},{"data":[1,2]},{"data":%s}]}' % (LONG, LONG), 2),
        (b'{"inputs":[{"data":[[%s]]}]}' % LONG, 1),
        (b'{"id":"\\"data\\":[","inputs":[{"data":%s}]}' % LONG, 1),
        (b'{"id":"%s","inputs":[{"data":%s}]}' % (b"x" * 200_000, LONG), 1),
        (b'{"inputs":[{"data":[%s1]}]}' % (b"2.25," * 100_000), 1),
        (b'{"inputs":[{"data":%s%s}]}' % (LONG, b" " * 60_000), 1),
        (b'{"inputs":[{"data":[1,2,3]}]}', 0),
        (b'{"inputs":[]}', 0),
        (b'{"inputs":[{"data":5}]}', 0),
    ],
)
def test_nothing_is_lost(text: bytes, count: int) -> None:
    rest, lists = cut_lists(memoryview(text))
    assert len(lists) == count
    assert put_back(orjson.loads(rest), lists) == orjson.loads(text)
    assert all(bytes(one).startswith(b"[") and bytes(one).endswith(b"]") for one in lists.values())
    assert b"".join([rest, *lists.values()]).count(b"1") >= text.count(b"1")


@pytest.mark.parametrize(
    "text",
    [b"", b'"data":', b'"data":[', b'"data":[' + b"1," * 5000, b'"data":[' * 1000,
     b'{"data":["' + LONG, b'{"data":[' + b" " * 200_000 + b'"'],
)  # fmt: skip
def test_what_is_no_json_stays_no_json(text: bytes) -> None:
    rest, lists = cut_lists(memoryview(text))
    with pytest.raises(orjson.JSONDecodeError):
        put_back(orjson.loads(rest), lists)


def test_a_mark_within_a_text_makes_it_no_json() -> None:
    text = b'{"id": "x"data": %s", "inputs": []}' % LONG
    rest, lists = cut_lists(memoryview(text))
    assert len(lists) == 1
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(rest)


def test_marks_cannot_be_known() -> None:
    text = b'{"inputs":[{"data":%s}]}' % LONG
    first, second = (cut_lists(memoryview(text)).lists for _ in range(2))
    assert first.keys() != second.keys()
