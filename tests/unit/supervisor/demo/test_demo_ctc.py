"""Greedy CTC decoding and the recogniser's alphabet."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from supervisor.demo.ctc import CtcDecoder

DECODER = CtcDecoder(["a", "b", "c"])  # classes: blank, a, b, c, space


def scores(*best: int, classes: int = 5) -> NDArray[np.float32]:
    """Scores of which the given class is the best at each step."""
    return np.eye(classes, dtype=np.float32)[list(best)]


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((1, 2, 3), "abc"),
        ((1, 1, 1), "a"),
        ((1, 0, 1), "aa"),
        ((0, 0, 2, 2, 0, 0), "b"),
        ((1, 4, 2), "a b"),
        ((1, 4, 4, 2), "a b"),
        ((0, 0, 0), ""),
        ((3, 1, 1, 0, 1, 2), "caab"),
    ],
)
def test_joins_repeats_and_drops_blanks(steps: tuple[int, ...], text: str) -> None:
    assert DECODER.decode(scores(*steps)) == text


def test_space_is_the_last_class() -> None:
    assert DECODER.classes == 5
    assert DECODER.decode(scores(4)) == " "


def test_scores_of_another_alphabet_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[2, 6\], not \[steps, 5\]"):
        DECODER.decode(scores(1, 2, classes=6))


def test_scores_with_a_batch_axis_are_refused() -> None:
    with pytest.raises(ValueError, match="not"):
        DECODER.decode(scores(1, 2)[np.newaxis])


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_dictionary_holds_one_character_a_line(tmp_path: Path, newline: str, end: str) -> None:
    keys = tmp_path / "keys.txt"
    # U+2028 and U+3000 are a line separator and a space to str.splitlines() and str.strip().
    keys.write_bytes((newline.join(["x", "\u2028", "\u3000", "y"]) + end).encode())
    decoder = CtcDecoder.from_file(keys)
    assert decoder.classes == 6
    assert decoder.decode(scores(1, 2, 3, 4, 5, classes=6)) == "x\u2028\u3000y "
