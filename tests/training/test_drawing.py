"""Pixels show what the scene says, where it says it, and nothing else."""

import io
import random
import subprocess
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.drawing import character_centres, draw_picture
from training.scenes import Dots, Scene, Shape, Sign, draw_scene, draw_wall
from training.vocabulary import BACKGROUNDS, COLOURS, SHAPES, SIGN_WORDS

Pixels = NDArray[np.int16]
ROOT = Path(__file__).parents[2]


def source(name: object) -> random.Random:
    return random.Random(f"{name}")  # noqa: S311 - drawing, not secrets


def scene(
    *,
    size: tuple[int, int] = (112, 112),
    background: str = "cyan",
    big: tuple[Shape, ...] = (),
    icons: tuple[Shape, ...] = (),
    signs: tuple[Sign, ...] = (),
    dots: Dots | None = None,
) -> Scene:
    """One tile."""
    return Scene(1, 1, *size, background, big, icons, signs, dots)


def draw(drawn: Scene) -> Pixels:
    """[height, width, 3]."""
    return np.asarray(draw_picture(drawn)).astype(np.int16)


def is_colour(pixel: Pixels, colour: str) -> bool:
    return bool((pixel == (COLOURS | BACKGROUNDS)[colour]).all())


def outside(pixels: Pixels, box: tuple[float, float, float, float]) -> Pixels:
    """Pixels that lie wholly outside a box: [n, 3]."""
    left, top, right, bottom = box
    rows, columns = np.indices(pixels.shape[:2])
    inside = (columns + 1 > left) & (columns < right) & (rows + 1 > top) & (rows < bottom)
    return pixels[~inside]


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_an_empty_scene_is_all_background(background: str) -> None:
    pixels = draw(scene(size=(130, 101), background=background))
    assert pixels.shape == (101, 130, 3)
    assert (pixels == BACKGROUNDS[background]).all()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_a_shape_has_its_colour_at_its_centre_and_stays_in_its_box(name: str, colour: str) -> None:
    for x, y, radius in ((60.0, 45.0, 30.0), (50.3, 60.6, 7.4)):
        pixels = draw(scene(big=(Shape(name, colour, x, y, radius),)))
        assert is_colour(pixels[int(y), int(x)], colour)
        assert is_colour(pixels[1, 1], "cyan")
        reach = radius + 0.6  # a drawn edge ends on a whole pixel of the larger canvas
        box = (x - reach, y - reach, x + reach, y + reach)
        assert (outside(pixels, box) == BACKGROUNDS["cyan"]).all()


def test_shapes_differ_in_their_outline() -> None:
    drawn = [draw(scene(big=(Shape(name, "red", 56, 56, 20),))) for name in SHAPES]
    for index, one in enumerate(drawn):
        for other in drawn[:index]:
            assert (one != other).any(axis=-1).sum() > 100


@pytest.mark.parametrize(
    ("name", "empty_side"),
    [("triangle", (-0.7, -0.7)), ("diamond", (0.7, 0.7)), ("cross", (0.7, -0.7))],
)
def test_shapes_stand_upright(name: str, empty_side: tuple[float, float]) -> None:
    pixels = draw(scene(big=(Shape(name, "red", 56, 56, 30),)))
    dx, dy = empty_side
    assert is_colour(pixels[int(56 + 30 * dy), int(56 + 30 * dx)], "cyan")
    assert is_colour(pixels[56 + 20, 56], "red")


SIZES = ((112, 112), (98, 101), (104, 101), (140, 137), (144, 140))


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("size", SIZES)
def test_a_sign_is_a_plate_and_nothing_around_it(colour: str, size: tuple[int, int]) -> None:
    pixels = draw(scene(size=size, signs=(Sign("NORTH", colour, 56, 60),)))
    left, top, right, bottom = plate(size)
    for x in (left + 2.5, right - 2.5):
        for y in (top + 2.5, bottom - 2.5):
            assert is_colour(pixels[int(y), int(x)], colour)
    box = (left - 0.6, top - 0.6, right + 0.6, bottom + 0.6)
    assert (outside(pixels, box) == BACKGROUNDS["cyan"]).all()


@pytest.mark.parametrize("text", [*SIGN_WORDS, "000", "111", "444", "888"])
def test_text_keeps_clear_of_its_plates_edge(text: str) -> None:
    for size in SIZES:
        written, bare = (
            draw(scene(size=size, signs=(Sign(t, "red", 56, 60),))) for t in (text, " ")
        )
        rows, columns = np.nonzero((written != bare).any(axis=-1))
        left, top, right, bottom = plate(size)
        assert columns.min() > left + 0.5
        assert columns.max() + 1 < right - 0.5
        assert rows.min() > top + 3
        assert rows.max() + 1 < bottom - 3
        assert len(rows) > 60


def plate(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Edges of a plate at 56, 60 in the pixels of a picture."""
    scale_x, scale_y = size[0] / 112, size[1] / 112
    return 30 * scale_x, 47 * scale_y, 82 * scale_x, 73 * scale_y


@pytest.mark.parametrize("colour", COLOURS)
def test_the_ink_contrasts_with_the_plate(colour: str) -> None:
    pixels = draw(scene(size=(140, 140), signs=(Sign("888", colour, 56, 56),)))
    plate = pixels[58:82, 42:98].reshape(-1, 3).sum(axis=1)
    ground = sum(COLOURS[colour])
    assert (abs(plate - ground) > 250).mean() > 0.05


@pytest.mark.parametrize("text", ["888", "000", "OOOO", "HHHH", "III", "TATA"])
def test_characters_are_where_they_are_said_to_be(text: str) -> None:
    side = 448
    pixels = draw(scene(size=(side, side), signs=(Sign(text, "white", 56, 40),)))
    scale = side / 112
    text_rows = pixels[int(31 * scale) : int(49 * scale)]
    columns = (text_rows.sum(axis=2) < 450).sum(axis=0).astype(float)
    centres = character_centres(Sign(text, "white", 56, 40))
    assert "".join(character for _, character in centres) == text
    middles = [(a + b) / 2 for (a, _), (b, _) in pairwise(centres)]
    borders = [31.0, *middles, 81.0]
    for (x, _), (left, right) in zip(centres, pairwise(borders), strict=True):
        own = columns[int(left * scale) : int(right * scale)]
        at = (np.arange(len(own)) + 0.5 + int(left * scale)) / scale
        assert abs((own * at).sum() / own.sum() - x) < 1.0


def test_dots_are_drawn_where_they_are() -> None:
    centres = ((20.0, 20.0), (60.5, 33.0), (90.0, 90.2))
    pixels = draw(scene(dots=Dots("pink", centres)))
    for x, y in centres:
        assert is_colour(pixels[int(y), int(x)], "pink")
    painted = (pixels != BACKGROUNDS["cyan"]).any(axis=-1).sum()
    assert 3 * 30 < painted < 3 * 70


def test_everything_in_a_scene_shows_at_any_size() -> None:
    for index in range(60):
        drawn = draw_scene(source(f"shown {index}"))
        pixels = draw(drawn)
        assert pixels.shape == (drawn.height, drawn.width, 3)
        sx, sy = drawn.width / (112 * drawn.columns), drawn.height / (112 * drawn.rows)
        dots = () if drawn.dots is None else drawn.dots.centres
        shown = [(s.x, s.y, s.colour) for s in (*drawn.big_shapes, *drawn.icons)]
        shown += [(s.x - 22.5, s.y - 9.5, s.colour) for s in drawn.signs]
        shown += [(x, y, drawn.dots.colour) for x, y in dots if drawn.dots]
        for x, y, colour in shown:
            assert is_colour(pixels[int(y * sy), int(x * sx)], colour)


def picture_digest(seed: str) -> str:
    drawing = source(seed)
    files = [png(draw_picture(d(drawing))) for _ in range(5) for d in (draw_scene, draw_wall)]
    return sha256(b"".join(files)).hexdigest()


def test_equal_seeds_give_equal_files_in_another_process() -> None:
    script = "from tests.training.test_drawing import picture_digest; print(picture_digest('a'))"
    there = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert there.stdout.strip() == picture_digest("a")


def test_different_seeds_give_different_files() -> None:
    assert len({picture_digest(str(seed)) for seed in range(5)}) == 5
