"""A sheet to draw on: text that wraps, framed tiles, bars. Knows nothing of what it shows."""

from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from math import ceil

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

PAPER: Colour = (250, 249, 246)
INK: Colour = (34, 38, 46)
GREY: Colour = (122, 127, 138)
WHITE: Colour = (255, 255, 255)
FRAME = 4
# Pillow's own font knows ASCII and little more; a text beyond that is set in the first of these
# that the machine has.
WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf", "arial.ttf")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; `right` and `bottom` are one past it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from side to side."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top


class Paper:
    """A picture under way.

    Attributes:
        image: What is drawn so far.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def picture(self, picture: Image.Image, box: Box) -> None:
        """Fill a box with a picture."""
        size = (box.width, box.height)
        resized = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)
        self.image.paste(resized, (box.left, box.top))

    def lines(self, lines: list[str], left: int, top: int, size: int, colour: Colour = INK) -> int:
        """Write lines of text.

        Returns:
            Where the next line would begin.
        """
        for line in lines:
            self._draw.text((left, top), line, colour, font_for(line, size))
            top += line_height(size)
        return top

    def text(
        self, text: str, at: tuple[float, float], size: int, anchor: str, colour: Colour = INK
    ) -> None:
        """Write one line of text by a point; the anchor is Pillow's, such as `rm`."""
        self._draw.text(at, text, colour, font_for(text, size), anchor=anchor)

    def label(self, text: str, box: Box, colour: Colour) -> None:
        """Put a small plate of a colour into the upper left corner of a box."""
        size = max(10, min(20, box.width // 6))
        font = font_for(text, size)
        right = box.left + FRAME + round(font.getlength(text)) + 2 * FRAME
        plate = (box.left, box.top, right, box.top + FRAME + line_height(size))
        self._draw.rectangle(plate, colour)
        middle = (box.left + right) / 2, (plate[1] + plate[3]) / 2
        self._draw.text(middle, text, WHITE, font, anchor="mm")

    def fill(self, box: Box, colour: Colour, alpha: int = 255) -> None:
        """Lay a colour over a box."""
        if box.width > 0 and box.height > 0:
            area = (box.left, box.top, box.right - 1, box.bottom - 1)
            self._draw.rectangle(area, (*colour, alpha))

    def frame(self, box: Box, colour: Colour) -> None:
        """Draw the border of a box, inside of it."""
        area = (box.left, box.top, box.right - 1, box.bottom - 1)
        self._draw.rectangle(area, outline=colour, width=FRAME)

    def lattice(self, box: Box, cells: int, colour: Colour, alpha: int) -> None:
        """Divide a box into cells x cells."""
        for index in range(1, cells):
            x = box.left + box.width * index // cells
            y = box.top + box.height * index // cells
            self._draw.line((x, box.top, x, box.bottom - 1), (*colour, alpha))
            self._draw.line((box.left, y, box.right - 1, y), (*colour, alpha))


def wrap(text: str, size: int, width: int, max_lines: int) -> list[str]:
    """Break a text into lines of at most `width` pixels; what does not fit ends in dots."""
    broken = _broken(text, font_for(text, size), width)
    lines = list(islice(broken, max_lines))
    if next(broken, None) is not None:
        lines[-1] += " ..."
    return lines


def line_height(size: int) -> int:
    """Pixels from one line of text to the next."""
    return round(1.35 * size)


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that has a text's characters, if the machine has one."""
    return _plain_font(size) if text.isascii() else _wide_font(size)


@cache
def _plain_font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  # given a size it always is
    return font


@cache
def _wide_font(size: int) -> ImageFont.FreeTypeFont:
    for name in WIDE_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return _plain_font(size)


def _broken(text: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in _words(paragraph):
            if line and font.getlength((line + word).rstrip()) > width:
                yield line.rstrip()
                line = word.lstrip()
            else:
                line += word
            # A word that alone is too long is cut.
            while len(line) > 1 and font.getlength(line.rstrip()) > width:
                end = max(1, bisect(range(len(line)), width, key=_length_of(line, font)) - 1)
                yield line[:end]
                line = line[end:]
        yield line.rstrip()


def _length_of(line: str, font: ImageFont.FreeTypeFont) -> Callable[[int], int]:
    return lambda end: ceil(font.getlength(line[:end]))


def _words(text: str) -> list[str]:
    """Where a line may break: after blanks, and between the characters of unspaced scripts."""
    words: list[str] = []
    for character in text:
        joined = words and character.isascii() and not words[-1].endswith(" ")
        if joined and words[-1].isascii():
            words[-1] += character
        else:
            words.append(character)
    return words
