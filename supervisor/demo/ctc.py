"""Greedy CTC decoding: from the recogniser's class scores to text.

Owns the alphabet of the recogniser: class 0 is the blank, then one class for each
line of the dictionary file, then a space.
Never talks to a server. Runs in the process of `hotpaddle demo`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLANK: Final = 0


class CtcDecoder:
    """Turns class scores into text.

    Args:
        keys: The characters of the dictionary, in its order, without blank and space.

    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._characters = ("", *keys, " ")

    @classmethod
    def from_file(cls, path: Path) -> "CtcDecoder":
        """Read a dictionary with one character on each line.

        Raises:
            OSError: The file can't be read.
            UnicodeDecodeError: The file isn't UTF-8.

        """
        # Not splitlines(): it would also cut at characters that are entries themselves.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        return cls([line.removesuffix("\r") for line in lines])

    @property
    def classes(self) -> int:
        """How many scores the recogniser gives at each step."""
        return len(self._characters)

    def decode(self, scores: NDArray[np.float32]) -> str:
        """Take the best class of each step, join repeats, drop blanks.

        Args:
            scores: One picture's scores, shape [steps, classes].

        Raises:
            ValueError: The scores don't have this alphabet's number of classes.

        """
        if scores.ndim != 2 or scores.shape[1] != self.classes:
            raise ValueError(f"scores of shape {list(scores.shape)}, not [steps, {self.classes}]")
        best = scores.argmax(axis=1)
        starts = np.ones(len(best), dtype=bool)
        starts[1:] = best[1:] != best[:-1]
        return "".join(self._characters[index] for index in best[starts & (best != BLANK)])
