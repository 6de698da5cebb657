"""Each patch is labelled with what lies in it, by another reckoning of where that is."""

import random
from collections.abc import Iterator
from math import floor

import numpy as np
import pytest

from training.dense_labels import CHARACTERS, NOTHING, NUM_CLASSES, label_patches
from training.drawing import character_centres
from training.scenes import Dots, Scene, Shape, Sign, draw_scene, draw_wall
from training.vocabulary import BACKGROUNDS, COLOURS, SHAPES


def source(name: object) -> random.Random:
    return random.Random(f"{name}")  # noqa: S311 - drawing, not secrets


SIDE = 8  # patches along a tile
SCENES = [
    draw(source(f"labels {index}")) for index in range(150) for draw in (draw_scene, draw_wall)
]

CHARACTER_HALVES = ("left_character", "right_character")

Place = tuple[int, int]


def place(scene: Scene, x: float, y: float) -> Place:
    """Tile and patch of a point, row by row."""
    column, row = floor(x / 112), floor(y / 112)
    inner_x, inner_y = x - column * 112, y - row * 112
    return row * scene.columns + column, floor(inner_y / 14) * SIDE + floor(inner_x / 14)


def inner_half(scene: Scene, shape: Shape) -> Iterator[Place]:
    """Every patch that the inner half of a big shape reaches."""
    half = shape.radius / 2
    for row in range(scene.rows * SIDE):
        for column in range(scene.columns * SIDE):
            in_x = column * 14 <= shape.x + half and shape.x - half < (column + 1) * 14
            in_y = row * 14 <= shape.y + half and shape.y - half < (row + 1) * 14
            if in_x and in_y:
                yield place(scene, column * 14 + 7, row * 14 + 7)


def expected(scene: Scene, name: str) -> dict[Place, str]:
    """What each patch with one of these labels carries."""
    found: dict[Place, str] = {}
    wants_colour = name == "colour"
    if name in ("big_shape", "colour"):
        for shape in scene.big_shapes:
            label = shape.colour if wants_colour else shape.name
            found |= dict.fromkeys(inner_half(scene, shape), label)
    if name in ("icon", "colour"):
        for icon in scene.icons:
            found[place(scene, icon.x, icon.y)] = icon.colour if wants_colour else icon.name
    if name in (*CHARACTER_HALVES, "colour"):
        for sign in scene.signs:
            for x, character in character_centres(sign):
                if wants_colour or name == CHARACTER_HALVES[floor(x / 7) % 2]:
                    found[place(scene, x, sign.y)] = sign.colour if wants_colour else character
    if wants_colour and scene.dots is not None:
        found |= {place(scene, x, y): scene.dots.colour for x, y in scene.dots.centres}
    return found


NAMES = {
    "left_character": tuple(CHARACTERS),
    "right_character": tuple(CHARACTERS),
    "big_shape": SHAPES,
    "icon": SHAPES,
    "colour": tuple(COLOURS),
}


@pytest.mark.parametrize("name", NAMES)
def test_patches_carry_what_lies_in_them(name: str) -> None:
    for scene in SCENES:
        labels = label_patches(scene).by_name[name]
        assert labels.shape == (scene.rows * scene.columns, SIDE * SIDE)
        carried = {
            (int(tile), int(patch)): NAMES[name][labels[tile, patch]]
            for tile, patch in np.argwhere(labels != NOTHING)
        }
        assert carried == expected(scene, name)


def test_dots_are_told_from_what_could_be_dots_and_is_not() -> None:
    for scene in SCENES:
        labels = label_patches(scene).by_name["dots"]
        centres = () if scene.dots is None else scene.dots.centres
        dotted = {place(scene, x, y) for x, y in centres}
        others = [expected(scene, name) for name in ("icon", *CHARACTER_HALVES)]
        unsure = {*others[0], *others[1], *others[2]} - dotted
        for tile, patch in np.ndindex(labels.shape):
            wanted = 1 if (tile, patch) in dotted else -1 if (tile, patch) in unsure else 0
            assert labels[tile, patch] == wanted


def test_every_patch_has_its_background() -> None:
    for scene in SCENES:
        labels = label_patches(scene).by_name["background"]
        assert (labels == list(BACKGROUNDS).index(scene.background)).all()


def test_labels_are_classes() -> None:
    for scene in SCENES:
        labels = label_patches(scene).by_name
        assert labels.keys() == NUM_CLASSES.keys()
        for name, values in labels.items():
            assert values.dtype == np.int64
            assert values.min() >= NOTHING
            assert values.max() < NUM_CLASSES[name]


def test_every_class_is_seen() -> None:
    seen: dict[str, set[int]] = {name: set() for name in NUM_CLASSES}
    for scene in SCENES:
        for name, values in label_patches(scene).by_name.items():
            seen[name] |= set(np.unique(values).tolist()) - {NOTHING}
    unseen = {name: set(range(n)) - seen[name] for name, n in NUM_CLASSES.items()}
    never_written = {CHARACTERS.index(letter) for letter in "JQV"}
    for half in CHARACTER_HALVES:
        assert never_written <= unseen.pop(half)
    assert unseen == {name: set() for name in unseen}


def test_a_scene_by_hand() -> None:
    scene = Scene(
        columns=2,
        rows=1,
        width=224,
        height=112,
        background="beige",
        big_shapes=(Shape("star", "red", 56, 56, 28),),
        icons=(Shape("cross", "blue", 119, 7, 8),),
        signs=(Sign("I", "green", 161, 77),),
        dots=Dots("black", ((217.0, 105.0),)),
    )
    labels = label_patches(scene).by_name
    star = labels["big_shape"][0].reshape(SIDE, SIDE)
    assert (star[3:6, 3:6] == SHAPES.index("star")).all()
    assert (star != NOTHING).sum() == 9
    assert labels["icon"][1, 0] == SHAPES.index("cross")
    # 161 px is exactly in the middle of its patch, which is its right half.
    assert labels["right_character"][1, 5 * SIDE + 3] == CHARACTERS.index("I")
    assert labels["dots"][1, 63] == 1
    assert [labels["colour"][1, at] for at in (0, 43, 63)] == [2, 1, 6]


def test_no_digit_hides_another() -> None:
    for scene in SCENES:
        labels = label_patches(scene).by_name
        labelled = sum(int((labels[half] != NOTHING).sum()) for half in CHARACTER_HALVES)
        assert labelled == sum(len(sign.text) for sign in scene.signs if sign.is_number) + sum(
            len(set(places))
            for sign in scene.signs
            if not sign.is_number
            for places in [[(floor(x / 7), sign.y) for x, _ in character_centres(sign)]]
        )
