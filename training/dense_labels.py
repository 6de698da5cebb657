"""Labels for every patch of a tile, read off the scene: what the eyes learn first.

Taught only through answers, a small vision transformer stays blind to print; taught patch by
patch, it reads within minutes. Labels are local: the character, icon or dot whose
centre lies in the patch, the big shape whose inner half reaches it, and their colours. Where two
are in one patch, the later one counts.
"""

import string
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.drawing import character_centres
from training.scenes import TILE, Scene
from training.vocabulary import BACKGROUNDS, COLOURS, SHAPES

CHARACTERS = string.digits + string.ascii_uppercase
PATCH = 14
PATCHES = int(TILE) // PATCH
NOTHING = -1

COLOUR_NAMES = tuple(COLOURS)
BACKGROUND_NAMES = tuple(BACKGROUNDS)
# Classes of each label; a patch without one has NOTHING.
NUM_CLASSES = {
    "left_character": len(CHARACTERS),
    "right_character": len(CHARACTERS),
    "big_shape": len(SHAPES),
    "icon": len(SHAPES),
    "colour": len(COLOURS),
    "dots": 2,
    "background": len(BACKGROUNDS),
}


@dataclass(frozen=True, slots=True)
class DenseLabels:
    """Labels of one picture's grid tiles, by label name: [T, P] int64, `NOTHING` for none."""

    by_name: dict[str, NDArray[np.int64]]


def label_patches(scene: Scene) -> DenseLabels:
    """Label every patch of the scene's grid tiles; a thumbnail has no labels."""
    size = (scene.rows * PATCHES, scene.columns * PATCHES)
    maps = {name: np.full(size, NOTHING, dtype=np.int64) for name in NUM_CLASSES}
    maps["background"][:] = BACKGROUND_NAMES.index(scene.background)
    for name, shapes in (("big_shape", scene.big_shapes), ("icon", scene.icons)):
        for shape in shapes:
            reach = shape.radius * 0.5 if name == "big_shape" else 0.0
            _fill(maps[name], shape.x, shape.y, reach, SHAPES.index(shape.name))
            _fill(maps["colour"], shape.x, shape.y, reach, COLOUR_NAMES.index(shape.colour))
    for sign in scene.signs:
        for x, character in character_centres(sign):
            half = "left_character" if x % PATCH < PATCH / 2 else "right_character"
            _fill(maps[half], x, sign.y, 0.0, CHARACTERS.index(character))
            _fill(maps["colour"], x, sign.y, 0.0, COLOUR_NAMES.index(sign.colour))
    if scene.dots is not None:
        for x, y in scene.dots.centres:
            _fill(maps["dots"], x, y, 0.0, 1)
            _fill(maps["colour"], x, y, 0.0, COLOUR_NAMES.index(scene.dots.colour))
    plain = maps["dots"] == NOTHING
    for name in ("icon", "left_character", "right_character"):
        plain &= maps[name] == NOTHING
    maps["dots"][plain] = 0
    return DenseLabels({name: _by_tile(scene, grid) for name, grid in maps.items()})


def _fill(grid: NDArray[np.int64], x: float, y: float, reach: float, value: int) -> None:
    rows, columns = grid.shape
    left, right = int((x - reach) // PATCH), int((x + reach) // PATCH)
    top, bottom = int((y - reach) // PATCH), int((y + reach) // PATCH)
    grid[max(0, top) : min(rows, bottom + 1), max(0, left) : min(columns, right + 1)] = value


def _by_tile(scene: Scene, grid: NDArray[np.int64]) -> NDArray[np.int64]:
    tiles = grid.reshape(scene.rows, PATCHES, scene.columns, PATCHES).transpose(0, 2, 1, 3)
    return tiles.reshape(scene.rows * scene.columns, PATCHES * PATCHES)
