"""Grids against the published loop and known sizes."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tiling import TileGrid, TilingOptions, choose_grid


def options(max_tiles: int = 12, min_tiles: int = 1, use_thumbnail: bool = True) -> TilingOptions:
    return TilingOptions(448, min_tiles, max_tiles, use_thumbnail)


def published_grid(width: int, height: int, options: TilingOptions) -> tuple[int, int]:
    """Follow the published loop: candidates in a set's order, sorted by product, last tie wins."""
    fewest, most = options.min_tiles, options.max_tiles
    sides = range(1, most + 1)
    candidates = {(i, j) for n in sides for i in range(1, n + 1) for j in range(1, n + 1)}
    best, best_difference = (1, 1), math.inf
    for i, j in sorted(candidates, key=lambda grid: grid[0] * grid[1]):
        if not fewest <= i * j <= most:
            continue
        difference = abs(width / height - i / j)
        large = width * height > 0.5 * options.tile_size * options.tile_size * i * j
        if difference < best_difference:
            best, best_difference = (i, j), difference
        elif difference == best_difference and large:
            best = (i, j)
    return best


@pytest.mark.parametrize(
    ("width", "height", "num_tiles"),
    [
        (448, 448, 1),
        (633, 633, 1),
        (634, 634, 5),
        (896, 896, 5),
        (1024, 1024, 10),
        (1344, 1344, 10),
        (1920, 1080, 9),
        (640, 480, 13),
        (800, 600, 13),
        (2480, 3508, 7),
        (4000, 3000, 13),
        (1, 5000, 13),
    ],
)
def test_known_sizes(width: int, height: int, num_tiles: int) -> None:
    assert choose_grid(width, height, options()).num_tiles == num_tiles


@pytest.mark.parametrize("max_tiles", [1, 4, 6, 12, 24])
def test_two_thousand_random_sizes_equal_the_published_loop(max_tiles: int) -> None:
    source = random.Random(max_tiles)  # noqa: S311  # sizes, not secrets
    for _ in range(2_000):
        width, height = source.randint(1, 4_000), source.randint(1, 4_000)
        grid = choose_grid(width, height, options(max_tiles))
        assert (grid.columns, grid.rows) == published_grid(width, height, options(max_tiles))


@pytest.mark.parametrize("max_tiles", [6, 12])
def test_exact_ties_equal_the_published_loop(max_tiles: int) -> None:
    for width in range(56, 2_300, 56):
        for height in range(56, 2_300, 56):
            grid = choose_grid(width, height, options(max_tiles))
            assert (grid.columns, grid.rows) == published_grid(width, height, options(max_tiles))


@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    min_tiles=st.integers(1, 3),
    max_tiles=st.integers(3, 24),
)
def test_a_grid_keeps_its_bounds(width: int, height: int, min_tiles: int, max_tiles: int) -> None:
    grid = choose_grid(width, height, options(max_tiles, min_tiles))
    cells = grid.columns * grid.rows
    assert min_tiles <= cells <= max_tiles
    assert grid.has_thumbnail == (cells > 1)
    assert grid.num_tiles == cells + grid.has_thumbnail


def test_no_thumbnail_where_the_model_has_none() -> None:
    grid = choose_grid(896, 448, options(use_thumbnail=False))
    assert grid == TileGrid(columns=2, rows=1, has_thumbnail=False)


def test_boxes_go_row_by_row_and_cover_the_picture() -> None:
    assert TileGrid(columns=2, rows=2, has_thumbnail=True).boxes(10) == [
        (0, 0, 10, 10),
        (10, 0, 20, 10),
        (0, 10, 10, 20),
        (10, 10, 20, 20),
    ]
