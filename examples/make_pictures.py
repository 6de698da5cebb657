"""Draw the example pictures: `python examples/make_pictures.py`.

The results are committed, so that examples run as they are. Sizes and shapes are chosen so that
pictures are cut into few tiles or many, and some hold plain tiles beside busy ones.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from canvas import Canvas, Point
from PIL import Image

PICTURES = Path(__file__).parent / "pictures"
INK = "#26323f"


@dataclass(frozen=True, slots=True)
class HarbourLook:
    """What differs between day and night at the harbour.

    Attributes:
        sky: Colours from top to horizon.
        sea: Colours from horizon to bottom.
        light: Sun or moon.
        windows: Colour behind the panes.
        departure: On the sign.
        boat: Hull.
    """

    sky: tuple[str, str]
    sea: tuple[str, str]
    light: str
    windows: str
    departure: str
    boat: str


DAY = HarbourLook(
    sky=("#8ec9ee", "#e4f2f8"),
    sea=("#4e9fb8", "#2b6f8c"),
    light="#fff3b8",
    windows="#5d7f92",
    departure="09:40",
    boat="#c8402f",
)
NIGHT = HarbourLook(
    sky=("#0f1b3a", "#3a4674"),
    sea=("#24335c", "#101b36"),
    light="#f2efe0",
    windows="#ffd873",
    departure="22:15",
    boat="#3d7a5c",
)


def harbour(look: HarbourLook) -> Image.Image:
    """A quay with three houses, a sailing boat and the ferry's sign."""
    canvas = Canvas(900, 600)
    canvas.shade((0, 0, 900, 360), *look.sky)
    canvas.disc(745, 90, 42, look.light)
    canvas.shade((0, 360, 900, 600), *look.sea)
    waves = random.Random(4)  # noqa: S311 - drawing, not secrets
    for _ in range(46):
        x, y = waves.randrange(0, 860), waves.randrange(375, 590)
        canvas.line([(x, y), (x + 26, y)], look.sky[1], 1.4)
    houses = [(30, 190, "#e9d8b4"), (170, 150, "#d98f6a"), (300, 205, "#b9cfd6")]
    for left, top, wall in houses:
        _house(canvas, left, top, wall, look.windows)
    canvas.box((0, 355, 470, 385), "#8b8378")
    _boat(canvas, look.boat)
    _ferry_sign(canvas, look.departure)
    return canvas.finish()


def _house(canvas: Canvas, left: float, top: float, wall: str, windows: str) -> None:
    canvas.polygon([(left - 8, top), (left + 60, top - 60), (left + 128, top)], "#7a3f35")
    canvas.box((left, top, left + 120, 356), wall)
    for row in range(int((340 - top) // 55)):
        for column in range(3):
            x, y = left + 16 + 34 * column, top + 18 + 50 * row
            canvas.box((x, y, x + 20, y + 28), windows, radius=2, outline="white")


def _boat(canvas: Canvas, hull: str) -> None:
    canvas.line([(640, 470), (640, 215)], "#5b4632", 6)
    canvas.polygon([(648, 225), (648, 440), (770, 440)], "#fbf8ef")
    canvas.polygon([(632, 250), (632, 440), (560, 440)], "#efe6cf")
    canvas.polygon([(530, 462), (790, 462), (745, 525), (570, 525)], hull)
    canvas.box((530, 456, 790, 468), "white", radius=5)
    canvas.text((655, 496), "MARLENE", 24, "white", "mm")


def _ferry_sign(canvas: Canvas, departure: str) -> None:
    canvas.box((118, 395, 132, 585), "#5a4a3a")
    canvas.box((338, 395, 352, 585), "#5a4a3a")
    canvas.box((80, 405, 390, 545), "#1d4f91", radius=12, outline="white")
    canvas.text((235, 435), "PIER 7", 34, "white", "mm")
    canvas.text((235, 476), f"Ferry to Elmsby  {departure}", 25, "#ffe27a", "mm")
    canvas.text((235, 514), "Tickets 12.50 on board", 20, "white", "mm")


def fruit_bowl() -> Image.Image:
    """Two red apples, a green one, a pear, a banana and grapes."""
    canvas = Canvas(640, 640)
    canvas.shade((0, 0, 640, 400), "#f3e7d3", "#e6d2b1")
    canvas.shade((0, 400, 640, 640), "#b07b4c", "#8d5c34")
    canvas.shadow((110, 490, 540, 560))
    for x in range(0, 150, 5):  # the banana, as discs along a curve
        bend = math.sin(x / 150 * math.pi)
        canvas.disc(395 + x, 330 - 78 * bend - x * 0.4, 14 + 9 * bend, "#f2c531")
    canvas.disc(541, 270, 7, "#5a4221")
    _apple(canvas, 300, 290, "#7fb542")
    canvas.ellipse((155, 265, 260, 400), "#c9bd3c")
    canvas.ellipse((178, 205, 238, 330), "#c9bd3c")
    canvas.line([(208, 212), (216, 184)], "#5a4221", 6)
    _apple(canvas, 255, 365, "#c5352f")
    _apple(canvas, 385, 360, "#b92c37")
    canvas.chord((95, 165, 545, 545), 15, 165, "#3f7f95")
    canvas.chord((150, 255, 490, 525), 40, 140, "#6aa7b8")
    canvas.box((240, 524, 400, 546), "#326a7d", radius=8)
    for row, count in enumerate((4, 3, 2, 1)):
        for column in range(count):
            x, y = 462 + 27 * column + 13 * row, 372 + 25 * row
            canvas.disc(x, y, 15, "#5b3d82")
            canvas.disc(x - 5, y - 5, 4, "#a68bc7")
    return canvas.finish()


def _apple(canvas: Canvas, x: float, y: float, colour: str) -> None:
    canvas.disc(x - 18, y, 52, colour)
    canvas.disc(x + 18, y, 52, colour)
    canvas.line([(x, y - 42), (x + 8, y - 74)], "#5a4221", 6)
    canvas.ellipse((x + 8, y - 82, x + 46, y - 60), "#5f9440")
    canvas.ellipse((x - 48, y - 34, x - 28, y - 8), "#f6ded2")


def bar_chart() -> Image.Image:
    """Visitors of a museum over six months."""
    canvas = Canvas(800, 600, "#fbfbf8")
    canvas.text((60, 48), "Visitors of the Harbour Museum, 2024", 30, INK)
    canvas.text((60, 84), "in thousands", 20, "#6b7682")
    for step in range(6):
        y = 520 - 75 * step
        canvas.line([(90, y), (760, y)], "#d9dde0" if step else INK, 2)
        canvas.text((76, y), str(10 * step), 20, "#6b7682", "rm")
    bars = [
        ("April", 18, "#4f86b5"),
        ("May", 26, "#4f86b5"),
        ("June", 31, "#4f86b5"),
        ("July", 44, "#4f86b5"),
        ("August", 48, "#e08a2e"),
        ("Sept.", 23, "#4f86b5"),
    ]
    for index, (month, visitors, colour) in enumerate(bars):
        left = 112 + 110 * index
        top = 520 - 7.5 * visitors
        canvas.box((left, top, left + 76, 519), colour)
        canvas.text((left + 38, top + 22), str(visitors), 24, "white", "mm")
        canvas.text((left + 38, 546), month, 21, INK, "mm")
    canvas.text((60, 582), "Source: ticket office", 16, "#8a939b")
    return canvas.finish()


def street_map() -> Image.Image:
    """A river, two bridges, a station and named streets."""
    canvas = Canvas(1000, 400, "#efece2")
    canvas.box((40, 30, 250, 150), "#cfe3bd", radius=14)
    canvas.text((145, 90), "Rose Park", 22, "#4c7040", "mm")
    blocks = random.Random(7)  # noqa: S311 - drawing, not secrets
    for column in (*range(7), *range(8, 13)):
        for row in range(3):
            left, top = 292 + 56 * column - 10 * (column > 7), 24 + 44 * row
            grey = blocks.choice(("#dcd6c8", "#d3cdbf", "#e2dccf"))
            canvas.box((left, top, left + 42, top + 30), grey, radius=3)
    bank = [(x, 262 + 26 * math.sin(x / 130)) for x in range(0, 1001, 10)]
    canvas.polygon([*bank, *((x, y + 62) for x, y in reversed(bank))], "#9cc9e3")
    canvas.text((866, 304), "River Alder", 21, "#2f6d94", "mm")
    roads: list[list[Point]] = [
        [(0, 178), (1000, 178)],
        [(0, 372), (1000, 372)],
        [(270, 0), (270, 400)],
        [(690, 0), (690, 400)],
    ]
    for road in roads:
        canvas.line(road, "#c9b98f", 22)
    for road in roads:
        canvas.line(road, "#fff7dc", 16)
    canvas.text((480, 178), "Mill Road", 15, INK, "mm")
    canvas.text((480, 372), "South Quay", 15, INK, "mm")
    canvas.text((340, 240), "Old Bridge", 17, "#7a4a2a", "mm")
    canvas.text((764, 226), "New Bridge", 17, "#7a4a2a", "mm")
    canvas.box((850, 196, 980, 250), "#b5473c", radius=6, outline="white")
    canvas.text((915, 223), "Station", 24, "white", "mm")
    canvas.disc(120, 240, 15, "#d6332b")
    canvas.text((120, 240), "A", 18, "white", "mm")
    canvas.text((142, 240), "you are here", 17, INK)
    return canvas.finish()


def panorama() -> Image.Image:
    """A lighthouse and a weather board on the left; nothing but sky and sea to the right."""
    canvas = Canvas(1600, 400)
    canvas.shade((0, 0, 1600, 340), "#b9dbef", "#cfe5f0")
    canvas.shade((0, 340, 1600, 400), "#9fc4d4", "#8db7c9")
    canvas.polygon([(0, 400), (0, 262), (120, 240), (330, 268), (470, 345), (520, 400)], "#6e8a52")
    canvas.polygon([(70, 252), (88, 96), (132, 96), (150, 252)], "#f5f1e8")
    for top, inset in ((206, 5), (150, 12)):
        left, right = 70 + inset, 150 - inset
        canvas.polygon(
            [(left, top + 30), (left + 3, top), (right - 3, top), (right, top + 30)], "#c43c34"
        )
    canvas.box((92, 66, 128, 96), "#ffe28a", outline=INK)
    canvas.polygon([(84, 66), (110, 38), (136, 66)], "#c43c34")
    canvas.box((196, 112, 384, 246), "#fffdf4", radius=8, outline="#6b5b45")
    canvas.box((204, 246, 214, 286), "#6b5b45")
    canvas.box((366, 246, 376, 300), "#6b5b45")
    lines = ("CAPE ALDER", "Wind 14 kn NW", "Water 17 C", "High tide 16:20")
    for index, line in enumerate(lines):
        size = 21 if index == 0 else 18
        canvas.text((290, 134 + 30 * index), line, size, "#b5473c" if index == 0 else INK, "mm")
    return canvas.finish()


def receipt() -> Image.Image:
    """A coffee house's bill of eight lines with tax and total."""
    canvas = Canvas(360, 1080, "#fffef9")
    canvas.text((180, 56), "CAFE LINDEN", 36, INK, "mm")
    canvas.text((180, 96), "Mill Road 14, Elmsby", 19, INK, "mm")
    canvas.text((180, 122), "Tel. 0555 27 38 90", 19, INK, "mm")
    canvas.text((28, 178), "Table 6", 20, INK)
    canvas.text((332, 178), "12 May 2024  13:05", 20, INK, "rm")
    _dashes(canvas, 208)
    items = [
        ("2 Coffee", 5.60),
        ("1 Green tea", 2.90),
        ("1 Tomato soup", 6.40),
        ("2 Bread, butter", 3.80),
        ("1 Fish of the day", 15.50),
        ("1 Mushroom pasta", 12.20),
        ("1 Apple cake", 4.70),
        ("3 Sparkling water", 7.50),
    ]
    for index, (name, price) in enumerate(items):
        y = 250 + 50 * index
        canvas.text((28, y), name, 22, INK)
        canvas.text((332, y), f"{price:.2f}", 22, INK, "rm")
    _dashes(canvas, 650)
    total = sum(price for _, price in items)
    canvas.text((28, 690), "incl. 10 % tax", 20, INK)
    canvas.text((332, 690), f"{total / 11:.2f}", 20, INK, "rm")
    canvas.text((28, 744), "TOTAL", 34, INK)
    canvas.text((332, 744), f"{total:.2f}", 34, INK, "rm")
    canvas.text((28, 792), "Paid by card  **** 4471", 19, INK)
    _dashes(canvas, 830)
    canvas.text((180, 880), "Thank you, come again!", 22, INK, "mm")
    _bar_code(canvas)
    return canvas.finish()


def _dashes(canvas: Canvas, y: float) -> None:
    for x in range(28, 330, 12):
        canvas.line([(x, y), (x + 6, y)], "#8a939b", 2)


def _bar_code(canvas: Canvas) -> None:
    stripes = random.Random(11)  # noqa: S311 - drawing, not secrets
    x = 60
    while x < 296:
        width = stripes.choice((2, 3, 5))
        canvas.box((x, 930, x + width, 1010), INK)
        x += width + stripes.choice((2, 3, 4))
    canvas.text((180, 1034), "4 012345 678901", 18, INK, "mm")


def stamp() -> Image.Image:
    """A postage stamp, small enough for a single tile."""
    canvas = Canvas(150, 150, "#3c4a56")
    canvas.box((14, 14, 136, 136), "#fdfbf3")
    for step in range(11):
        for x, y in ((14, 15 + 12 * step), (136, 15 + 12 * step)):
            canvas.disc(x, y, 4, "#3c4a56")
            canvas.disc(y, x, 4, "#3c4a56")
    canvas.box((26, 26, 124, 124), "#2f7f74")
    canvas.disc(75, 70, 26, "#f4c542")
    ridge: list[Point] = [(26, 106), (60, 66), (86, 96), (102, 80), (124, 106)]
    canvas.polygon([*ridge, (124, 124), (26, 124)], "#1f5a52")
    canvas.text((38, 40), "85", 22, "white", "mm")
    canvas.text((75, 115), "ELMSBY", 15, "white", "mm")
    return canvas.finish()


SCENES: dict[str, Callable[[], Image.Image]] = {
    "harbour_day.jpg": lambda: harbour(DAY),
    "harbour_night.jpg": lambda: harbour(NIGHT),
    "fruit_bowl.jpg": fruit_bowl,
    "bar_chart.png": bar_chart,
    "street_map.png": street_map,
    "panorama.jpg": panorama,
    "receipt.png": receipt,
    "stamp.png": stamp,
}


def main() -> None:
    """Draw every scene into `examples/pictures`."""
    PICTURES.mkdir(exist_ok=True)
    for name, draw in SCENES.items():
        draw().save(PICTURES / name, optimize=True, quality=88)


if __name__ == "__main__":
    main()
