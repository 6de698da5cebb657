"""Scenes keep their rules: unique names, nothing overlaps, the tiler finds their grid again."""

import random
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import pytest

from common.tiling import TilingOptions, choose_grid
from training.scenes import GRIDS, TILE, Scene, draw_scene, draw_wall

NUM_SCENES = 2000
TILING = TilingOptions(tile_size=112, min_tiles=1, max_tiles=6, use_thumbnail=True)
EDGE = 1e-9

Box = tuple[float, float, float, float]


def source(name: object) -> random.Random:
    return random.Random(f"scenes {name}")  # noqa: S311 - drawing, not secrets


SCENES = [draw_scene(source(index)) for index in range(NUM_SCENES)]
WALLS = [draw_wall(source(index)) for index in range(300)]


def boxes(scene: Scene) -> list[Box]:
    """What each thing covers: left, top, right, bottom in tile pixels."""
    shapes = [(s.x, s.y, s.radius, s.radius) for s in (*scene.big_shapes, *scene.icons)]
    signs = [(s.x, s.y, 26.0, 13.0) for s in scene.signs]
    centres = () if scene.dots is None else scene.dots.centres
    dots = [(x, y, 3.5, 3.5) for x, y in centres]
    return [(x - w, y - h, x + w, y + h) for x, y, w, h in (*shapes, *signs, *dots)]


def overlap(a: Box, b: Box) -> bool:
    apart = a[2] <= b[0] + EDGE or b[2] <= a[0] + EDGE or a[3] <= b[1] + EDGE or b[3] <= a[1] + EDGE
    return not apart


def test_the_tiler_cuts_every_picture_into_the_scenes_grid() -> None:
    for scene in SCENES:
        grid = choose_grid(scene.width, scene.height, TILING)
        assert (grid.columns, grid.rows) == (scene.columns, scene.rows)


def test_pictures_have_one_to_seven_tiles() -> None:
    counts = Counter(choose_grid(s.width, s.height, TILING).num_tiles for s in SCENES)
    assert set(counts) == {1, 3, 4, 5, 7}


def test_grids_are_as_frequent_as_they_should_be() -> None:
    assert sum(share for _, share in GRIDS) == pytest.approx(1.0)
    counts = Counter((scene.columns, scene.rows) for scene in SCENES)
    for grid, share in GRIDS:
        assert counts[grid] / NUM_SCENES == pytest.approx(share, abs=0.04)


def test_names_and_sign_colours_are_unique() -> None:
    for scene in SCENES:
        for names in (
            [shape.name for shape in scene.big_shapes],
            [icon.name for icon in scene.icons],
            [sign.colour for sign in scene.signs],
        ):
            assert len(set(names)) == len(names)


@pytest.mark.parametrize("scenes", [SCENES, WALLS], ids=["scenes", "walls"])
def test_nothing_overlaps_and_everything_is_inside_one_tile(scenes: list[Scene]) -> None:
    for scene in scenes:
        covered = boxes(scene)
        for left, top, right, bottom in covered:
            column, row = (left + right) // (2 * TILE), (top + bottom) // (2 * TILE)
            assert 0 <= column < scene.columns
            assert 0 <= row < scene.rows
            assert left >= column * TILE - EDGE
            assert right <= (column + 1) * TILE + EDGE
            assert top >= row * TILE - EDGE
            assert bottom <= (row + 1) * TILE + EDGE
        assert not any(overlap(a, b) for a, b in combinations(covered, 2))


def details(scene: Scene) -> list[tuple[float, float]]:
    """Centres of everything small."""
    centres = () if scene.dots is None else scene.dots.centres
    signs, icons = ([(each.x, each.y) for each in group] for group in (scene.signs, scene.icons))
    return [*signs, *icons, *centres]


def test_detail_and_big_shapes_never_share_a_tile() -> None:
    for scene in SCENES:
        detail = details(scene)
        big = {(shape.x // TILE, shape.y // TILE) for shape in scene.big_shapes}
        assert big.isdisjoint((x // TILE, y // TILE) for x, y in detail)


def test_a_picture_of_several_tiles_has_detail_in_some_and_not_in_others() -> None:
    for scene in SCENES:
        detail = details(scene)
        detailed = len({(x // TILE, y // TILE) for x, y in detail})
        tiles = scene.columns * scene.rows
        assert detailed <= max(1, tiles // 2)
        assert tiles == 1 or detailed >= 1


def test_a_single_tile_is_drawn_where_one_is_wanted() -> None:
    scenes = [draw_scene(source(index), 1) for index in range(100)]
    assert {(scene.columns, scene.rows) for scene in scenes} == {(1, 1)}


def test_there_are_one_to_five_dots_and_four_digits() -> None:
    dots = Counter(len(scene.dots.centres) for scene in SCENES if scene.dots is not None)
    assert set(dots) == {1, 2, 3, 4, 5}
    signs = [sign for scene in (*SCENES, *WALLS) for sign in scene.signs]
    assert all(sign.is_number == sign.text[0].isdigit() for sign in signs)
    assert {len(sign.text) for sign in signs if sign.is_number} == {4}


def test_walls_are_one_tile_and_crammed() -> None:
    assert {(wall.columns, wall.rows) for wall in WALLS} == {(1, 1)}
    assert all(choose_grid(w.width, w.height, TILING).num_tiles == 1 for w in WALLS)
    assert sum(len(boxes(wall)) for wall in WALLS) / len(WALLS) > 8


def test_equal_seeds_give_equal_scenes_in_another_process() -> None:
    script = (
        "import random, hashlib; from training.scenes import draw_scene, draw_wall;"
        "r = random.Random('scenes x');"
        "drawn = [[draw_scene(r), draw_wall(r)] for _ in range(50)];"
        "print(hashlib.sha256(repr(drawn).encode()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    there = subprocess.run(
        [sys.executable, "-c", script], cwd=root, check=True, capture_output=True, text=True
    )
    r = source("x")
    drawn = [[draw_scene(r), draw_wall(r)] for _ in range(50)]
    assert there.stdout.strip() == sha256(repr(drawn).encode()).hexdigest()


def test_different_seeds_give_different_scenes() -> None:
    filled = [scene for scene in SCENES if boxes(scene)]
    assert len(set(filled)) == len(filled) > 0.9 * NUM_SCENES
