"""Scenes: what is where in a picture, drawn at random but with one right answer to each question.

A scene lives on the tile grid that the tiler will cut: every tile is plain (empty, or one or two
big shapes) or detailed (printed signs, dots, small icons in quarters of the tile), so detail is
uneven inside a picture. Sign colours, big shapes and small icons are each unique in a picture.
"""

import random
from dataclasses import dataclass, replace
from typing import TypeVar

from training.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    MAX_DOTS,
    SHAPES,
    SIGN_DIGITS,
    SIGN_WORDS,
)

T = TypeVar("T")

TILE = 112.0
QUARTER = TILE / 2
# Columns, rows and how often; with a thumbnail they give 1, 3, 4, 5 and 7 tiles.
GRIDS = (
    ((1, 1), 0.34), ((2, 1), 0.14), ((1, 2), 0.12), ((3, 1), 0.08), ((1, 3), 0.06),
    ((2, 2), 0.14), ((3, 2), 0.07), ((2, 3), 0.05),
)  # fmt: skip
# The tiler must stop here, or it would cut a large picture of 2 x 2 scene tiles into 3 x 3.
MAX_GRID_TILES = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled figure.

    Attributes:
        name: One of `SHAPES`.
        colour: One of `COLOURS`.
        x: Centre, in tile pixels from the left.
        y: Centre, in tile pixels from the top.
        radius: Half its side, in tile pixels.
    """

    name: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Sign:
    """A plate with a word or a number; `x`, `y` is its centre in tile pixels."""

    text: str
    colour: str
    x: float
    y: float

    @property
    def is_number(self) -> bool:
        """Whether it shows digits."""
        return self.text.isdigit()


@dataclass(frozen=True, slots=True)
class Dots:
    """Small dots of one colour; their centres in tile pixels."""

    colour: str
    centres: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything in one picture, in reading order of the tiles.

    Attributes:
        columns: Of the tile grid.
        rows: Of the tile grid.
        width: Of the picture, in its own pixels.
        height: Of the picture, in its own pixels.
        background: One of `BACKGROUNDS`.
        big_shapes: Unique by name.
        icons: Unique by name, but not on a wall.
        signs: Unique by colour, but not on a wall.
        dots: At most one group.
    """

    columns: int
    rows: int
    width: int
    height: int
    background: str
    big_shapes: tuple[Shape, ...]
    icons: tuple[Shape, ...]
    signs: tuple[Sign, ...]
    dots: Dots | None

    def as_thumbnail(self) -> "Scene":
        """What a thumbnail of the scene shows well enough to be named: the big shapes, on one tile.

        A shape that is squeezed keeps the smaller of its two radii.
        """
        squeezed = tuple(
            replace(
                shape,
                x=shape.x / self.columns,
                y=shape.y / self.rows,
                radius=shape.radius / max(self.columns, self.rows),
            )
            for shape in self.big_shapes
        )
        return replace(self, columns=1, rows=1, big_shapes=squeezed, icons=(), signs=(), dots=None)


class SceneBuilder:
    """Fills one scene tile by tile; draws every choice from one random source."""

    def __init__(self, source: random.Random, columns: int, rows: int) -> None:
        self._source = source
        self._columns = columns
        self._rows = rows
        self._big_names = _shuffled(source, SHAPES)
        self._icon_names = _shuffled(source, SHAPES)
        self._sign_colours = _shuffled(source, tuple(COLOURS))
        self._big: list[Shape] = []
        self._icons: list[Shape] = []
        self._signs: list[Sign] = []
        self._dots: Dots | None = None

    def build(self) -> Scene:
        """Fill every tile and choose the picture's own size."""
        source = self._source
        places = [(column, row) for row in range(self._rows) for column in range(self._columns)]
        num_detailed = self._num_detailed(len(places))
        detailed = set(source.sample(places, num_detailed))
        for column, row in places:
            left, top = column * TILE, row * TILE
            if (column, row) in detailed:
                self._fill_detailed(left, top)
            else:
                self._fill_plain(left, top)
        scale = source.uniform(0.9, 1.25)
        stretch = source.uniform(0.97, 1.03)
        return Scene(
            columns=self._columns,
            rows=self._rows,
            width=round(self._columns * TILE * scale * stretch),
            height=round(self._rows * TILE * scale),
            background=source.choice(tuple(BACKGROUNDS)),
            big_shapes=tuple(self._big),
            icons=tuple(self._icons),
            signs=tuple(self._signs),
            dots=self._dots,
        )

    def _num_detailed(self, num_places: int) -> int:
        if num_places == 1:
            return int(self._source.random() < 0.6)
        return self._source.randint(1, max(1, num_places // 2))

    def _fill_plain(self, left: float, top: float) -> None:
        source, kind = self._source, self._source.random()
        if kind < 0.12 or not self._big_names:
            return
        if kind < 0.45 and len(self._big_names) > 1:
            radius = source.uniform(19, 23)
            for centre in (QUARTER / 2, TILE - QUARTER / 2):
                y = top + QUARTER + source.uniform(-20, 20)
                self._add_big(left + centre + source.uniform(-3, 3), y, radius)
            return
        radius = source.uniform(28, 42)
        slack = TILE / 2 - radius - 4
        self._add_big(
            left + TILE / 2 + source.uniform(-slack, slack),
            top + TILE / 2 + source.uniform(-slack, slack),
            radius,
        )

    def _add_big(self, x: float, y: float, radius: float) -> None:
        colour = self._source.choice(tuple(COLOURS))
        self._big.append(Shape(self._big_names.pop(), colour, x, y, radius))

    def _fill_detailed(self, left: float, top: float) -> None:
        quarters = [(dx, dy) for dy in (0.0, QUARTER) for dx in (0.0, QUARTER)]
        chosen = sorted(self._source.sample(quarters, self._source.randint(2, 4)), key=_reading)
        for dx, dy in chosen:
            self._fill_quarter(left + dx + QUARTER / 2, top + dy + QUARTER / 2)

    def _fill_quarter(self, x: float, y: float) -> None:
        source, kind = self._source, self._source.random()
        if kind < 0.66 and self._sign_colours:
            is_number = kind < 0.36
            text = _number(source) if is_number else source.choice(SIGN_WORDS)
            at_x, at_y = x + source.uniform(-2, 2), y + source.uniform(-11, 11)
            self._signs.append(Sign(text, self._sign_colours.pop(), at_x, at_y))
        elif kind < 0.8 and self._dots is None:
            self._dots = self._draw_dots(x, y)
        elif self._icon_names:
            radius = source.uniform(7, 9)
            slack = QUARTER / 2 - radius - 3
            at_x, at_y = x + source.uniform(-slack, slack), y + source.uniform(-slack, slack)
            colour = source.choice(tuple(COLOURS))
            self._icons.append(Shape(self._icon_names.pop(), colour, at_x, at_y, radius))

    def _draw_dots(self, x: float, y: float) -> Dots:
        source = self._source
        spots = [(dx, dy) for dy in (-16.0, 0.0, 16.0) for dx in (-16.0, 0.0, 16.0)]
        chosen = source.sample(spots, source.randint(1, MAX_DOTS))
        centres = tuple(
            (x + dx + source.uniform(-2, 2), y + dy + source.uniform(-2, 2)) for dx, dy in chosen
        )
        return Dots(source.choice(tuple(COLOURS)), centres)


def draw_scene(source: random.Random, num_tiles_wanted: int | None = None) -> Scene:
    """Draw a scene.

    Args:
        source: Of every choice.
        num_tiles_wanted: 1 for a picture of a single tile; None for any grid.
    """
    columns, rows = 1, 1
    if num_tiles_wanted is None:
        grids, weights = zip(*GRIDS, strict=True)
        ((columns, rows),) = source.choices(grids, weights)
    return SceneBuilder(source, columns, rows).build()


def draw_wall(source: random.Random) -> Scene:
    """Draw one tile crammed with signs, icons and dots: much to learn from in little space.

    Nothing is unique on it, so that it cannot be asked about.
    """
    signs: list[Sign] = []
    icons: list[Shape] = []
    centres: list[tuple[float, float]] = []
    for row in range(4):
        for column in range(2):
            x = QUARTER * (column + 0.5) + source.uniform(-2, 2)
            y = TILE / 4 * (row + 0.5) + source.uniform(-1, 1)
            kind = source.random()
            if kind < 0.75:
                text = _number(source) if source.random() < 0.5 else source.choice(SIGN_WORDS)
                signs.append(Sign(text, source.choice(tuple(COLOURS)), x, y))
            elif kind < 0.9:
                for at_x in (x - 14, x + 12):
                    colour = source.choice(tuple(COLOURS))
                    radius = source.uniform(7, 9)
                    icons.append(Shape(source.choice(SHAPES), colour, at_x, y, radius))
            else:
                spots = source.sample(range(-20, 21, 10), source.randint(1, 4))
                centres += [(x + dx, y + source.uniform(-8, 8)) for dx in spots]
    side = round(TILE * source.uniform(0.9, 1.25))
    background = source.choice(tuple(BACKGROUNDS))
    dots = Dots(source.choice(tuple(COLOURS)), tuple(centres)) if centres else None
    return Scene(1, 1, side, side, background, (), tuple(icons), tuple(signs), dots)


def _number(source: random.Random) -> str:
    return "".join(source.choice("0123456789") for _ in range(SIGN_DIGITS))


def _shuffled(source: random.Random, values: tuple[T, ...]) -> list[T]:
    return source.sample(values, len(values))


def _reading(place: tuple[float, float]) -> tuple[float, float]:
    return place[1], place[0]
