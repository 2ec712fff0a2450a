"""Requests and answers in the protocol's binary form."""

import json
from typing import Any

import numpy as np
import pytest

from supervisor.demo.wire import (
    GENERATION,
    HEAD_LENGTH,
    VERSION,
    AnswerError,
    Signature,
    decode_answer,
    encode_request,
    parse_signature,
)

SIGNATURE = Signature("x", "scores")
SCORES = np.arange(6, dtype="<f4").reshape(1, 2, 3)


def answer(**changes: Any) -> tuple[dict[str, str], bytes]:
    output = {
        "name": "scores",
        "datatype": "FP32",
        "shape": [1, 2, 3],
        "parameters": {"binary_data_size": 24},
    }
    head = json.dumps({"outputs": [output | changes]}).encode()
    headers = {HEAD_LENGTH: str(len(head)), VERSION: "v7", GENERATION: "3"}
    return headers, head + SCORES.tobytes()


def test_request_is_a_head_and_the_tensor() -> None:
    request = encode_request(SIGNATURE, SCORES)
    length = int(request.headers[HEAD_LENGTH])
    assert json.loads(request.body[:length]) == {
        "inputs": [
            {
                "name": "x",
                "shape": [1, 2, 3],
                "datatype": "FP32",
                "parameters": {"binary_data_size": 24},
            }
        ],
        "outputs": [{"name": "scores", "parameters": {"binary_data": True}}],
    }
    assert request.body[length:] == SCORES.tobytes()


def test_request_bytes_are_little_endian_whatever_the_tensor_is() -> None:
    swapped = np.asfortranarray(SCORES.astype(">f4"))
    assert encode_request(SIGNATURE, swapped).body == encode_request(SIGNATURE, SCORES).body


def test_answer_is_read() -> None:
    got = decode_answer(SIGNATURE, *answer())
    assert (got.version, got.generation) == ("v7", 3)
    np.testing.assert_array_equal(got.scores, SCORES)


@pytest.mark.parametrize("header", [HEAD_LENGTH, VERSION, GENERATION])
def test_answer_without_a_header_is_refused(header: str) -> None:
    headers, body = answer()
    del headers[header]
    with pytest.raises(AnswerError, match=header):
        decode_answer(SIGNATURE, headers, body)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "not scores"),
        ({"datatype": "FP16"}, "FP16"),
        ({"shape": [1, 2, 4]}, "announces"),
        ({"parameters": {"binary_data_size": 20}}, "announces"),
        ({"parameters": {}}, "malformed JSON head"),
    ],
)
def test_answer_that_is_something_else_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnswerError, match=message):
        decode_answer(SIGNATURE, *answer(**changes))


def test_answer_cut_short_is_refused() -> None:
    headers, body = answer()
    with pytest.raises(AnswerError, match="announces"):
        decode_answer(SIGNATURE, headers, body[:-1])


def test_head_that_is_no_json_is_refused() -> None:
    headers, body = answer()
    with pytest.raises(AnswerError, match="malformed JSON head"):
        decode_answer(SIGNATURE, headers, b"?" + body[1:])


def test_signature_is_read_from_metadata() -> None:
    metadata = {"inputs": [{"name": "x"}], "outputs": [{"name": "scores"}]}
    assert parse_signature(metadata) == SIGNATURE


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"inputs": [], "outputs": [{"name": "scores"}]},
        {"inputs": [{"name": "x"}, {"name": "y"}], "outputs": [{"name": "scores"}]},
        {"inputs": [{}], "outputs": [{"name": "scores"}]},
    ],
)
def test_metadata_of_another_model_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(AnswerError):
        parse_signature(metadata)
