"""A vocabulary: the messages that two processes have for each other, and how they are written.

Owns the form: one JSON object per message with its type's name, of plain values only, so that no
object is ever rebuilt by name from foreign bytes. Runs in all processes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Dataclass(Protocol):
    """What every dataclass is."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


M = TypeVar("M", bound=Dataclass)


class ProtocolError(Exception):
    """The peer sent bytes that are no message of its vocabulary."""


class Vocabulary(Generic[M]):
    """The messages of one kind of channel, each a frozen dataclass."""

    def __init__(self, *types: type[M]) -> None:
        self._types = {one.__name__: one for one in types}

    def encode(self, message: M) -> bytes:
        """Write a message as one JSON object with its type."""
        return json.dumps({"type": type(message).__name__, **asdict(message)}).encode()

    def decode(self, data: bytes) -> M:
        """Read a message.

        Raises:
            ProtocolError: the bytes are none.

        """
        try:
            fields = json.loads(data)
            return self._types[fields.pop("type")](**fields)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"not a control message: {data[:200]!r}") from error
