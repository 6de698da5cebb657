"""What panels are drawn on: shapes and text by pixels of the finished picture.

Everything is drawn twice as large and made smaller at the end, which rounds off the edges that
Pillow leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

from deploy.grafana.drawing.theme import PAGE, Colour

OVERSIZE = 2
OPAQUE = 255
ELLIPSIS = "…"

Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels.

    Attributes:
        left: Its left edge.
        top: Its upper edge.
        right: Its right edge.
        bottom: Its lower edge.
    """

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top

    def inside(self, left: float = 0, top: float = 0, right: float = 0, bottom: float = 0) -> "Box":
        """The rectangle without so much of each side."""
        return Box(self.left + left, self.top + top, self.right - right, self.bottom - bottom)


class Canvas:
    """One picture.

    Args:
        width: In pixels.
        height: In pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width * OVERSIZE, height * OVERSIZE), PAGE)
        # On a picture without opacity, this mode blends what is drawn.
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def rectangle(
        self, box: Box, fill: Colour, opacity: float = 1.0, edge: Colour | None = None,
        radius: float = 0,
    ) -> None:  # fmt: skip
        """Fill a rectangle."""
        self._draw.rounded_rectangle(
            [_scaled((box.left, box.top)), _scaled((box.right, box.bottom))],
            radius * OVERSIZE, (*fill, round(opacity * OPAQUE)), edge, OVERSIZE if edge else 0,
        )  # fmt: skip

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1) -> None:
        """Draw a line through points."""
        scaled = [_scaled(point) for point in points]
        self._draw.line(scaled, colour, round(width * OVERSIZE), joint="curve")

    def area(self, points: Sequence[Point], colour: Colour, opacity: float) -> None:
        """Fill what points enclose."""
        scaled = [_scaled(point) for point in points]
        self._draw.polygon(scaled, (*colour, round(opacity * OPAQUE)))

    def text(
        self, place: Point, text: str, size: float, colour: Colour, anchor: str = "la",
        is_bold: bool = False,
    ) -> None:  # fmt: skip
        """Write one line; `anchor` as Pillow names it."""
        self._draw.text(
            _scaled(place), text, colour, font_of(size), anchor,
            stroke_width=0.5 if is_bold else 0, stroke_fill=colour,
        )  # fmt: skip

    def picture(self) -> Image.Image:
        """The picture as it is now."""
        width, height = self._image.size
        smaller = (width // OVERSIZE, height // OVERSIZE)
        return self._image.resize(smaller, Image.Resampling.LANCZOS)


@lru_cache
def font_of(size: float) -> Font:
    """Pillow's own font, as large as it is drawn."""
    return ImageFont.load_default(size * OVERSIZE)


def text_width(text: str, size: float) -> float:
    """How wide a line of text is, in pixels."""
    return font_of(size).getlength(text) / OVERSIZE


def shortened(text: str, size: float, width: float) -> str:
    """A text that fits, with an ellipsis where it was cut."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + ELLIPSIS, size) > width:
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def _scaled(point: Point) -> Point:
    return point[0] * OVERSIZE, point[1] * OVERSIZE
