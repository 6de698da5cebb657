"""What each visual token shows, known from the scene: what the language model learns to read first.

A thing is labelled at one token: a sign and a group of dots at the last of theirs in reading order,
where a causal model has seen all of it, a figure at its centre.
"""

import numpy as np
from numpy.typing import NDArray

from training.dense_labels import NOTHING
from training.drawing import character_centres
from training.scenes import TILE, Scene, Shape
from training.vocabulary import COLOURS, MAX_DOTS, SHAPES, SIGN_DIGITS, SIGN_WORDS

TOKENS = 4  # a side of a tile, at full resolution
TOKEN = TILE / TOKENS
COLOUR_NAMES = tuple(COLOURS)
# Classes of each label; a token without one has NOTHING.
TOKEN_CLASSES = {
    "word": len(SIGN_WORDS),
    **{f"digit_{place}": 10 for place in range(SIGN_DIGITS)},
    "sign_colour": len(COLOURS),
    "icon": len(SHAPES),
    "icon_colour": len(COLOURS),
    "dots": MAX_DOTS,
    "big_shape": len(SHAPES),
    "big_colour": len(COLOURS),
}

TokenMaps = dict[str, NDArray[np.int64]]


def label_tokens(scene: Scene) -> TokenMaps:
    """Label the visual tokens of a scene's grid tiles.

    Returns:
        By label name [T, 16] int64, `NOTHING` for none.
    """
    tiles = scene.columns * scene.rows
    maps = {name: np.full((tiles, TOKENS**2), NOTHING) for name in TOKEN_CLASSES}
    for sign in scene.signs:
        last = max(_place(scene, x, sign.y) for x, _ in character_centres(sign))
        maps["sign_colour"][last] = COLOUR_NAMES.index(sign.colour)
        if sign.is_number:
            for place, digit in enumerate(sign.text):
                maps[f"digit_{place}"][last] = int(digit)
        else:
            maps["word"][last] = SIGN_WORDS.index(sign.text)
    for shape in scene.icons:
        _label_shape(scene, shape, maps, "icon")
    for shape in scene.big_shapes:
        _label_shape(scene, shape, maps, "big")
    # Dots of a wall are all over it.
    if scene.dots is not None and len(scene.dots.centres) <= MAX_DOTS:
        last = max(_place(scene, x, y) for x, y in scene.dots.centres)
        maps["dots"][last] = len(scene.dots.centres) - 1
    return maps


def _label_shape(scene: Scene, shape: Shape, maps: TokenMaps, prefix: str) -> None:
    centre = _place(scene, shape.x, shape.y)
    maps["big_shape" if prefix == "big" else prefix][centre] = SHAPES.index(shape.name)
    maps[f"{prefix}_colour"][centre] = COLOUR_NAMES.index(shape.colour)


def _place(scene: Scene, x: float, y: float) -> tuple[int, int]:
    """The tile and the token of a point."""
    column, row = int(x // TILE), int(y // TILE)
    in_tile = int((y - row * TILE) // TOKEN) * TOKENS + int((x - column * TILE) // TOKEN)
    return row * scene.columns + column, in_tile
