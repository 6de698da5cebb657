"""A thing is labelled at one token, where a causal reader has seen all of it."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from training.dense_labels import NOTHING
from training.scenes import Dots, Scene, Shape, Sign, draw_scene, draw_wall
from training.token_labels import TOKEN_CLASSES, label_tokens
from training.vocabulary import COLOURS, SHAPES, SIGN_WORDS

COLOUR_NAMES = list(COLOURS)


def scene(
    signs: tuple[Sign, ...] = (),
    icons: tuple[Shape, ...] = (),
    big: tuple[Shape, ...] = (),
    dots: Dots | None = None,
) -> Scene:
    return Scene(2, 1, 224, 112, "grey", big, icons, signs, dots)


def labelled(grid: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    return [
        (int(tile), int(token), int(grid[tile, token]))
        for tile, token in np.argwhere(grid != NOTHING)
    ]


def test_a_word_is_labelled_at_its_last_token() -> None:
    # 52 pixels wide around x = 140: from 114 to 166, tokens 0 and 1 of the second tile.
    maps = label_tokens(scene(signs=(Sign("NORTH", "red", 140.0, 40.0),)))
    assert labelled(maps["word"]) == [(1, 5, SIGN_WORDS.index("NORTH"))]
    assert labelled(maps["sign_colour"]) == [(1, 5, COLOUR_NAMES.index("red"))]
    assert not labelled(maps["digit_0"])


def test_a_number_is_labelled_digit_by_digit() -> None:
    maps = label_tokens(scene(signs=(Sign("4071", "blue", 28.0, 100.0),)))
    assert [labelled(maps[f"digit_{place}"]) for place in range(4)] == [
        [(0, 13, 4)], [(0, 13, 0)], [(0, 13, 7)], [(0, 13, 1)],
    ]  # fmt: skip
    assert not labelled(maps["word"])


def test_figures_are_labelled_at_their_centres() -> None:
    icon, big = Shape("star", "pink", 200.0, 20.0, 8.0), Shape("cross", "black", 60.0, 60.0, 30.0)
    maps = label_tokens(scene(icons=(icon,), big=(big,)))
    assert labelled(maps["icon"]) == [(1, 3, SHAPES.index("star"))]
    assert labelled(maps["icon_colour"]) == [(1, 3, COLOUR_NAMES.index("pink"))]
    assert labelled(maps["big_shape"]) == [(0, 10, SHAPES.index("cross"))]
    assert labelled(maps["big_colour"]) == [(0, 10, COLOUR_NAMES.index("black"))]


def test_dots_are_counted_at_the_last_one_in_reading_order() -> None:
    dots = Dots("white", ((70.0, 10.0), (100.0, 10.0), (60.0, 35.0)))
    assert labelled(label_tokens(scene(dots=dots))["dots"]) == [(0, 6, 2)]


@pytest.mark.parametrize("seed", range(20))
def test_every_thing_of_a_scene_has_its_token(seed: int) -> None:
    drawn = draw_scene(random.Random(seed))  # noqa: S311 - drawing, not secrets
    maps = label_tokens(drawn)
    assert all(grid.shape == (drawn.columns * drawn.rows, 16) for grid in maps.values())
    assert all(grid.max() < TOKEN_CLASSES[name] for name, grid in maps.items())
    assert len(labelled(maps["sign_colour"])) == len(drawn.signs)
    assert len(labelled(maps["icon"])) == len(drawn.icons)
    assert len(labelled(maps["big_shape"])) == len(drawn.big_shapes)
    assert len(labelled(maps["dots"])) == (drawn.dots is not None)


def test_the_scattered_dots_of_a_wall_are_not_counted() -> None:
    walls = [draw_wall(random.Random(seed)) for seed in range(40)]  # noqa: S311 - drawing
    many = [wall for wall in walls if wall.dots is not None and len(wall.dots.centres) > 5]
    assert many
    assert not any(labelled(label_tokens(wall)["dots"]) for wall in many)
