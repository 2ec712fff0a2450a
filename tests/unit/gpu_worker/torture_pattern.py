"""What both processes of the torture test know: payloads and answers follow from the request id."""

from __future__ import annotations

import random
from typing import Final

ANSWER_RING_BYTES: Final = 64 * 1024
LARGEST: Final = 60_000
_random = random.Random(20241015)
PATTERN: Final = _random.randbytes(LARGEST + 4099)  # 4099: a prime, ids start all over it
TURNED: Final = bytes(range(255, -1, -1))  # a translation table: each byte to its complement


def _sizes(smallest: int) -> list[int]:
    """Mostly small, one in five hundred up to the largest."""
    return [
        _random.randint(smallest, LARGEST if number % 500 == 7 else 300) for number in range(8191)
    ]


_PAYLOADS: Final = _sizes(1)
_ANSWERS: Final = _sizes(0)


def payload_of(request_id: int) -> bytes:
    """Give what the supervisor's side sends."""
    start = request_id % 4099
    return PATTERN[start : start + _PAYLOADS[request_id % 8191]]


def answer_to(payload: bytes, request_id: int) -> bytes:
    """Give what the worker's side makes of it: turned, repeated or cut to the answer's size."""
    size = _ANSWERS[request_id * 31 % 8191]
    turned = payload.translate(TURNED)
    return (turned * (size // len(turned) + 1))[:size]
