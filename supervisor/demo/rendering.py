"""Text lines drawn as the tensors that a PP-OCR recogniser reads.

Owns the demo's built-in lines and their way from text to a float32 tensor of
shape [1, 3, 48, width]. The same line gives the same bytes on every call: the
font is the one that Pillow carries, its layout the basic one.
Never talks to a server, and never touches files.
Runs in the process of `hotpaddle demo`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from supervisor.demo.errors import DemoError

HEIGHT: Final = 48
"""Height in pixels that the recogniser was trained on."""

WIDTH_STEP: Final = 32
"""Widths are rounded up to a multiple of this, so that few different shapes occur."""

FONT_SIZE: Final = 32
MARGIN: Final = 2
PAPER: Final = 255
INK: Final = 25

# The unbatched PP-OCRv4 recogniser reads each of these without a fault, and still does
# when noise is added to the picture: a wrong text in the demo is a wrong answer of the
# server. Lines whose picture ends in much empty paper are left out, as the recogniser
# sometimes sees a space there.
LINES: Final = (
    "Part 5512-B",
    "Quantity: 12",
    "Balance 0.00",
    "Flight HP 4821",
    "Receipt 66142",
    "Warehouse 9",
    "Date: 15.10.2024",
    "VAT 19% 205.09",
    "Unit price 39.95",
    "Order 7719-3346",
    "Invoice No. 48213",
    "Subtotal 1,079.41",
    "Customer 884213",
    "Printer toner black",
    "Invoice 2024-10731",
    "Amount paid 250.00",
    "Best before 06/2026",
    "Copper wire 2.5 mm",
    "Total due: 1,284.50 EUR",
    "Phone +49 30 5557 218",
    "Reloaded while it serves",
    "Tracking 5529 8841 7736",
    "Thank you for your order",
    "Total amount 1,732.66 USD",
)


@dataclass(frozen=True, slots=True)
class RenderedLine:
    """One text and its picture, ready to be sent."""

    text: str
    tensor: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor: [1, 3, height, width]."""
        return self.tensor.shape


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Return the font that Pillow carries.

    Raises:
        DemoError: This Pillow is too old, or was built without FreeType.

    """
    try:
        font = ImageFont.load_default(FONT_SIZE)
    except (TypeError, ImportError) as error:
        raise DemoError(
            "this Pillow has no scalable font of its own: pip install 'pillow>=10.1'"
        ) from error
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise DemoError("this Pillow was built without FreeType: pip install 'pillow>=10.1'")
    return font


def render(text: str) -> RenderedLine:
    """Draw one line, dark on light, and normalise it as PP-OCR does.

    Raises:
        DemoError: The installed Pillow has no scalable font.

    """
    font = _font()
    left, top, right, bottom = font.getbbox(text)
    needed = int(right - left) + 2 * MARGIN
    width = -(-needed // WIDTH_STEP) * WIDTH_STEP
    picture = Image.new("L", (width, HEIGHT), PAPER)
    position = (MARGIN - left, (HEIGHT - (bottom - top)) / 2 - top)
    ImageDraw.Draw(picture).text(position, text, fill=INK, font=font)
    grey = (np.asarray(picture, dtype=np.float32) / 255 - 0.5) / 0.5
    # Three equal channels: the order of colours makes no difference to grey.
    tensor = np.ascontiguousarray(np.broadcast_to(grey, (1, 3, HEIGHT, width)), dtype="<f4")
    return RenderedLine(text, tensor)


def render_all() -> tuple[RenderedLine, ...]:
    """Draw every built-in line.

    Raises:
        DemoError: The installed Pillow has no scalable font.

    """
    return tuple(render(text) for text in LINES)
