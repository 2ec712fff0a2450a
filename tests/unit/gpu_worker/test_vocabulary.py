"""A vocabulary: its own messages and no others, as plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest

from gpu_worker.ipc import messages as worker_messages
from gpu_worker.ipc.vocabulary import ProtocolError, Vocabulary
from supervisor.fronts import messages as front_messages


@dataclass(frozen=True, slots=True)
class Inner:
    size: int


@dataclass(frozen=True, slots=True)
class Greeting:
    text: str
    inner: Any = None
    more: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Farewell:
    text: str


VOCABULARY = Vocabulary[Greeting | Farewell](Greeting, Farewell)


def test_messages_of_the_same_fields_are_told_apart_by_their_type() -> None:
    for message in (Greeting("x"), Farewell("x")):
        assert VOCABULARY.decode(VOCABULARY.encode(message)) == message


def test_a_message_is_one_json_object() -> None:
    data = VOCABULARY.encode(Greeting("é", more=[1]))
    assert json.loads(data) == {"type": "Greeting", "text": "é", "inner": None, "more": [1]}


def test_fields_that_are_left_out_have_their_defaults_each_time_anew() -> None:
    data = b'{"type":"Greeting","text":"x"}'
    first, second = VOCABULARY.decode(data), VOCABULARY.decode(data)
    assert first == second == Greeting("x")
    assert isinstance(first, Greeting)
    assert isinstance(second, Greeting)
    assert first.more is not second.more


def test_what_stands_within_a_message_arrives_as_plain_values() -> None:
    back = VOCABULARY.decode(VOCABULARY.encode(Greeting("x", (Inner(3), {1: (2,)}))))
    assert back == Greeting("x", [{"size": 3}, {"1": [2]}])


def test_another_vocabularys_messages_are_refused() -> None:
    other = Vocabulary[Inner](Inner)
    with pytest.raises(ProtocolError, match="not a control message"):
        VOCABULARY.decode(other.encode(Inner(1)))
    with pytest.raises(ProtocolError):
        other.decode(VOCABULARY.encode(Farewell("x")))


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object()])
def test_what_json_cannot_say_is_an_error_of_the_speaker(value: Any) -> None:
    with pytest.raises(TypeError):
        VOCABULARY.encode(Greeting("x", value))


@pytest.mark.parametrize(
    ("union", "vocabulary"),
    [
        (worker_messages.Message, worker_messages.VOCABULARY),
        (front_messages.FrontMessage, front_messages.FrontChannel.vocabulary),
    ],
)
def test_every_message_that_may_be_sent_can_be_read(
    union: Any, vocabulary: Vocabulary[Any]
) -> None:
    names = {kind.__name__ for kind in get_args(union)}
    assert set(vocabulary._types) == names  # noqa: SLF001 - one that is missing shows too late else
    assert len(names) == len(get_args(union))
    assert not any("type" in kind.__dataclass_fields__ for kind in get_args(union))
