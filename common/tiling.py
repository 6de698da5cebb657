"""How InternVL cuts a picture into tiles: the grid, the crop boxes, the thumbnail.

Pure arithmetic, shared by the router (which derives tile counts from image headers) and the
vision service (which cuts), so that both always agree.

Source: `dynamic_preprocess` in OpenGVLab/InternVL, `internvl/train/dataset.py`.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

# Of one picture, whoever asks: all grids up to it are listed before one is chosen.
MAX_TILES = 1024


@dataclass(frozen=True, slots=True)
class TilingOptions:
    """The part of a checkpoint's configuration that decides the grid.

    Attributes:
        tile_size: Side of a tile in pixels.
        min_tiles: Fewest tiles of a grid.
        max_tiles: Most tiles of a grid, the thumbnail not counted.
        use_thumbnail: Whether a grid of several tiles is followed by the whole picture.
    """

    tile_size: int
    min_tiles: int
    max_tiles: int
    use_thumbnail: bool

    def at_most(self, max_tiles: int) -> "TilingOptions":
        """The same, but for grids of so many tiles at most."""
        return replace(self, min_tiles=min(self.min_tiles, max_tiles), max_tiles=max_tiles)


@dataclass(frozen=True, slots=True)
class TileGrid:
    """How one picture is cut.

    Attributes:
        columns: Tiles side by side.
        rows: Tiles on top of each other.
        has_thumbnail: Whether the whole picture follows as a last tile.
    """

    columns: int
    rows: int
    has_thumbnail: bool

    @property
    def num_tiles(self) -> int:
        """Tiles, the thumbnail included."""
        return self.columns * self.rows + int(self.has_thumbnail)

    def boxes(self, tile_size: int) -> list[tuple[int, int, int, int]]:
        """Crop boxes (left, top, right, bottom) in the resized picture, row by row."""
        return [
            (
                column * tile_size,
                row * tile_size,
                (column + 1) * tile_size,
                (row + 1) * tile_size,
            )
            for row in range(self.rows)
            for column in range(self.columns)
        ]


@lru_cache(maxsize=64)
def candidate_grids(min_tiles: int, max_tiles: int) -> tuple[tuple[int, int], ...]:
    """All (columns, rows) with a product in range, smallest product first."""
    grids = {
        (columns, rows)
        for columns in range(1, max_tiles + 1)
        for rows in range(1, max_tiles // columns + 1)
        if columns * rows >= min_tiles
    }
    return tuple(sorted(grids, key=lambda grid: (grid[0] * grid[1], grid)))


def choose_grid(width: int, height: int, options: TilingOptions) -> TileGrid:
    """Choose the grid whose aspect ratio is nearest to the picture's.

    On an exact tie the later, larger grid wins only if the picture covers more than half of its
    pixels, so that small pictures are not blown up.

    Args:
        width: Picture width in pixels.
        height: Picture height in pixels.
        options: The checkpoint's tiling.
    """
    aspect = width / height
    best, best_distance = (1, 1), float("inf")
    for columns, rows in candidate_grids(options.min_tiles, options.max_tiles):
        distance = abs(aspect - columns / rows)
        fills_half = width * height > 0.5 * options.tile_size**2 * columns * rows
        if distance < best_distance or (distance == best_distance and fills_half):
            best, best_distance = (columns, rows), distance
    columns, rows = best
    return TileGrid(columns, rows, options.use_thumbnail and columns * rows > 1)
