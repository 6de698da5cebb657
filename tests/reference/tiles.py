"""Picture file to normalised tiles with PIL and NumPy alone, as the published `load_image` does."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class PictureTiles:
    """One picture, cut.

    Attributes:
        pixels: [tiles, 3, side, side] float32.
        columns: Of the grid.
        rows: Of the grid.
    """

    pixels: torch.Tensor
    columns: int
    rows: int


def cut(model_dir: Path, file: bytes) -> PictureTiles:
    """Cut one picture for a checkpoint of either layout: up to 12 tiles and a thumbnail."""
    config = json.loads((model_dir / "config.json").read_text())
    side = config["vision_config"]["image_size"]
    side = side if isinstance(side, int) else side[0]
    picture = Image.open(io.BytesIO(file)).convert("RGB")
    columns, rows = _grid(picture.width, picture.height, side)
    resized = picture.resize((side * columns, side * rows))
    tiles = [
        resized.crop((column * side, row * side, (column + 1) * side, (row + 1) * side))
        for row in range(rows)
        for column in range(columns)
    ]
    if len(tiles) > 1:
        tiles.append(picture.resize((side, side)))
    pixels = torch.stack([_normalise(tile) for tile in tiles])
    return PictureTiles(pixels, columns, rows)


def _grid(width: int, height: int, side: int) -> tuple[int, int]:
    grids = [(c, r) for c in range(1, 13) for r in range(1, 13) if c * r <= 12]
    best = (1, 1)
    for grid in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        difference = abs(width / height - grid[0] / grid[1])
        best_difference = abs(width / height - best[0] / best[1])
        large = width * height > 0.5 * side * side * grid[0] * grid[1]
        if difference < best_difference or (difference == best_difference and large):
            best = grid
    return best


def _normalise(tile: Image.Image) -> torch.Tensor:
    pixels = np.asarray(tile, dtype=np.float32) / np.float32(255)
    return torch.from_numpy(((pixels - MEAN) / STD).transpose(2, 0, 1).copy())
