"""Text lines as tensors: shapes, range, the same bytes each time."""

import numpy as np
import pytest

from supervisor.demo.rendering import HEIGHT, LINES, WIDTH_STEP, render, render_all


def test_lines_are_distinct_and_enough() -> None:
    assert len(set(LINES)) == len(LINES) >= 20


def test_same_line_gives_same_bytes() -> None:
    first, second = render(LINES[0]), render(LINES[0])
    assert first.tensor.tobytes() == second.tensor.tobytes()


def test_different_lines_give_different_pictures() -> None:
    assert len({line.tensor.tobytes() for line in render_all()}) == len(LINES)


@pytest.mark.parametrize("text", LINES)
def test_shape_is_what_the_recogniser_takes(text: str) -> None:
    line = render(text)
    batch, channels, height, width = line.shape
    assert (batch, channels, height) == (1, 3, HEIGHT)
    assert width % WIDTH_STEP == 0
    assert 96 <= width <= 480
    assert line.tensor.dtype == np.dtype("<f4")
    assert line.tensor.flags.c_contiguous


def test_only_a_handful_of_widths_occurs() -> None:
    assert 4 <= len({line.shape for line in render_all()}) <= 10


def test_text_is_dark_on_light_and_normalised() -> None:
    tensor = render("Hotpaddle").tensor
    assert tensor.min() >= -1
    assert tensor.min() < -0.7
    assert tensor.max() == pytest.approx(1)
    assert np.median(tensor) == tensor.max()


def test_text_is_not_cut_off() -> None:
    picture = render("Hotpaddle gjpqy").tensor[0, 0]
    paper = picture.max()
    assert (picture[0] == paper).all()
    assert (picture[-1] == paper).all()
    assert (picture[:, -1] == paper).all()


def test_channels_are_equal() -> None:
    tensor = render("Hotpaddle").tensor
    assert (tensor[0, 0] == tensor[0, 1]).all()
    assert (tensor[0, 0] == tensor[0, 2]).all()
