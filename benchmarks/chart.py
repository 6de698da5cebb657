"""Curves over time as a PNG: a panel for each quantity, one under the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, PANEL_HEIGHT = 1000, 190
LEFT, RIGHT, TOP, BOTTOM = 110, 30, 40, 34
PAPER, INK, GREY, LINE = (250, 249, 246), (34, 38, 46), (170, 175, 184), (28, 98, 208)
TEXT = 14


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity.

    Attributes:
        title: What it is, with its unit.
        values: One for each time.
    """

    title: str
    values: Sequence[float]


def draw_chart(minutes: Sequence[float], panels: Sequence[Panel], file: Path) -> None:
    """Draw every panel from zero, over minutes, into a PNG file."""
    image = Image.new("RGB", (WIDTH, len(panels) * PANEL_HEIGHT), PAPER)
    draw = ImageDraw.Draw(image)
    for index, panel in enumerate(panels):
        _draw_panel(draw, index * PANEL_HEIGHT, minutes, panel)
    image.save(file, "PNG")


def _draw_panel(
    draw: ImageDraw.ImageDraw, top: int, minutes: Sequence[float], panel: Panel
) -> None:
    font = ImageFont.load_default(TEXT)
    upper, lower = top + TOP, top + PANEL_HEIGHT - BOTTOM
    highest, last = 1.2 * max(panel.values) or 1.0, max(minutes) or 1.0
    draw.text((LEFT, top + 12), panel.title, INK, font)
    for share in (0.0, 0.5, 1.0):
        y = round(lower - share * (lower - upper))
        draw.line((LEFT, y, WIDTH - RIGHT, y), GREY)
        draw.text((LEFT - 10, y), f"{share * highest:.4g}", INK, font, anchor="rm")
        x = round(LEFT + share * (WIDTH - RIGHT - LEFT))
        draw.text((x, lower + 8), f"{share * last:.1f} min", INK, font, anchor="ma")
    points = [
        (
            LEFT + minute / last * (WIDTH - RIGHT - LEFT),
            lower - value / highest * (lower - upper),
        )
        for minute, value in zip(minutes, panel.values, strict=True)
    ]
    draw.line(points, LINE, 2)
