"""A drawing surface with smooth edges: drawn three times as large, then scaled down."""

from collections.abc import Sequence

from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

SCALE = 3
Point = tuple[float, float]
Box = tuple[float, float, float, float]


class Canvas:
    """Draws in final pixels; colours are names or `#rrggbb`.

    Attributes:
        width: Of the finished picture in pixels.
        height: Of the finished picture in pixels.
    """

    def __init__(self, width: int, height: int, ground: str = "white") -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * SCALE, height * SCALE), ground)
        self._draw = ImageDraw.Draw(self._image)

    def box(
        self, box: Box, fill: str | None, radius: float = 0, outline: str | None = None
    ) -> None:
        """Draw a box, its corners round, its outline two pixels wide."""
        self._draw.rounded_rectangle(_scaled(box), radius * SCALE, fill, outline, 2 * SCALE)

    def disc(self, x: float, y: float, radius: float, fill: str) -> None:
        """Draw a disc around a point."""
        self.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def ellipse(self, box: Box, fill: str) -> None:
        """Draw an ellipse that fills a box."""
        self._draw.ellipse(_scaled(box), fill)

    def chord(self, box: Box, start: float, end: float, fill: str) -> None:
        """Draw the part of an ellipse between two angles in degrees, clockwise from the right."""
        self._draw.chord(_scaled(box), start, end, fill)

    def arc(self, box: Box, start: float, end: float, fill: str, width: float) -> None:
        """Draw a part of an ellipse's border."""
        self._draw.arc(_scaled(box), start, end, fill, round(width * SCALE))

    def polygon(self, points: Sequence[Point], fill: str) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in points], fill)

    def line(self, points: Sequence[Point], fill: str, width: float) -> None:
        """Draw a line with round bends and ends."""
        self._draw.line(
            [(x * SCALE, y * SCALE) for x, y in points], fill, round(width * SCALE), joint="curve"
        )
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, fill)

    def text(self, place: Point, text: str, size: float, fill: str, anchor: str = "lm") -> None:
        """Write one line; `anchor` as Pillow has it, such as `mm` for the middle."""
        font = ImageFont.load_default(size * SCALE)
        x, y = place
        self._draw.text((x * SCALE, y * SCALE), text, fill, font, anchor)

    def shade(self, box: Box, top: str, bottom: str) -> None:
        """Fill a box with a colour that changes from top to bottom."""
        left, upper, right, lower = (round(side) for side in _scaled(box))
        ramp = Image.linear_gradient("L").resize((right - left, lower - upper))
        first = Image.new("RGB", ramp.size, ImageColor.getrgb(top))
        last = Image.new("RGB", ramp.size, ImageColor.getrgb(bottom))
        self._image.paste(Image.composite(last, first, ramp), (left, upper))

    def shadow(self, box: Box, strength: int = 90) -> None:
        """Darken a soft ellipse."""
        mask = Image.new("L", self._image.size, 0)
        ImageDraw.Draw(mask).ellipse(_scaled(box), strength)
        mask = mask.filter(ImageFilter.GaussianBlur(6 * SCALE))
        self._image.paste("black", (0, 0), mask)

    def finish(self) -> Image.Image:
        """Scale down to the final size."""
        return self._image.resize((self.width, self.height), Image.Resampling.LANCZOS)


def _scaled(box: Box) -> Box:
    left, top, right, bottom = box
    return (left * SCALE, top * SCALE, right * SCALE, bottom * SCALE)
