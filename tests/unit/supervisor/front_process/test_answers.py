"""Answers owed: the end of each answer is found, however it is framed and cut."""

from __future__ import annotations

import pytest

from supervisor.front_process.answers import Answers
from supervisor.http.heads import UNKNOWN, Head

GET, HEAD = Head(0), Head(0, bare=True)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
ALONE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
NONE = b"HTTP/1.1 204 No Content\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
PACKED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
WITH_BODY = [PLAIN, EMPTY, NONE, CHUNKED, PACKED, INTERIM + PLAIN, INTERIM + INTERIM + CHUNKED]


@pytest.mark.parametrize("answer", WITH_BODY)
async def test_an_answer_is_owed_until_its_last_byte(answer: bytes) -> None:
    answers = Answers()
    for _ in range(3):
        assert not answers.owed
        answers.begin(GET)
        for at in range(len(answer)):
            assert answers.owed
            answers.take(answer[at : at + 1])
        assert not answers.owed


async def test_answers_may_come_at_once() -> None:
    answers = Answers()
    for _ in WITH_BODY:
        answers.begin(GET)
    data = b"".join(WITH_BODY)
    answers.take(data[:-1])
    assert answers.owed
    answers.take(data[-1:])
    assert not answers.owed


async def test_what_asks_for_a_head_alone_gets_no_body() -> None:
    answers = Answers()
    for head, answer in ((GET, PLAIN), (HEAD, ALONE), (HEAD, ALONE), (GET, PLAIN)):
        answers.begin(head)
        answers.take(answer[:-1])
        assert answers.owed
        answers.take(answer[-1:])
        assert not answers.owed
    answers.begin(HEAD)
    answers.begin(HEAD)
    answers.take(ALONE + ALONE)
    assert not answers.owed


@pytest.mark.parametrize("heads", [(UNKNOWN,), (GET, HEAD), (HEAD, GET), (HEAD, UNKNOWN)])
async def test_where_nobody_can_count_an_answer_is_always_owed(heads: tuple[Head, ...]) -> None:
    answers = Answers()
    for head in heads:
        answers.begin(head)
    answers.take(PLAIN + ALONE + PLAIN)
    answers.begin(GET)
    answers.take(PLAIN)
    assert answers.owed


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN.replace(b"\r\n", b"\r\nConnection: close\r\n", 1),
        PLAIN.replace(b"1.1", b"1.0"),
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"garbage\r\n\r\n",
        PLAIN + PLAIN,
    ],
)
async def test_an_answer_that_is_the_last_one_does_not_end(answer: bytes) -> None:
    answers = Answers()
    answers.begin(GET)
    answers.take(answer)
    assert answers.owed


async def test_the_body_of_an_answer_is_not_kept() -> None:
    answers = Answers()
    answers.begin(GET)
    count = 64
    answers.take(ALONE.replace(b"5", b"%d" % (count << 18)))
    for _ in range(count):
        assert answers.owed
        answers.take(bytes(1 << 18))  # a parser that kept it would pause, and lose the count
    assert not answers.owed
