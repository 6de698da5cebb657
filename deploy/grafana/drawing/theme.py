"""Colours and sizes of the pictures: close to Grafana's dark theme."""

from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]

PAGE: Colour = (17, 18, 23)
SURFACE: Colour = (24, 27, 31)
EDGE: Colour = (44, 47, 54)
GRID: Colour = (45, 48, 55)
UNFILLED: Colour = (38, 41, 47)
INK: Colour = (204, 204, 220)
SOFT: Colour = (142, 143, 158)
BRIGHT: Colour = (240, 240, 248)

NAMED: dict[str, Colour] = {
    "green": (115, 191, 105),
    "yellow": (250, 222, 42),
    "orange": (255, 152, 48),
    "red": (242, 73, 92),
    "semi-dark-red": (224, 47, 68),
    "blue": (87, 148, 242),
    "purple": (184, 119, 217),
    "text": (204, 204, 220),
}
# In the order of Grafana's classic palette.
PALETTE: tuple[Colour, ...] = (
    (115, 191, 105), (242, 204, 12), (138, 184, 255), (255, 120, 10), (242, 73, 92),
    (87, 148, 242), (184, 119, 217), (112, 93, 160), (55, 135, 45), (250, 222, 42),
    (68, 126, 188), (193, 92, 23), (137, 15, 2), (10, 67, 124), (109, 31, 98),
)  # fmt: skip

SMALL, TEXT, TITLE, HEADLINE = 11, 12, 14, 20


def palette(index: int) -> Colour:
    """Colour of a series, by its place."""
    return PALETTE[index % len(PALETTE)]


def colour_of(name: str) -> Colour:
    """Colour by Grafana's name of it."""
    return NAMED[name]


def stepped(value: float, steps: tuple[tuple[float, str], ...]) -> Colour:
    """Colour of the highest step that a value reaches."""
    reached = [name for least, name in steps if value >= least]
    return colour_of(reached[-1]) if reached else INK


def mixed(low: Colour, high: Colour, share: float) -> Colour:
    """A colour between two, 0 for the first and 1 for the second."""
    red, green, blue = (
        round(one + (other - one) * share) for one, other in zip(low, high, strict=True)
    )
    return red, green, blue
