"""From a picture file's bytes to normalised tiles, exactly as the published pipeline makes them.

Decode, RGB, bicubic resize of the whole picture to the grid, crops row by row, thumbnail last,
then ImageNet normalisation in float32. EXIF orientation is applied only where the options say so,
because the published pipeline does not; of an animation the first frame counts.

Source: `load_image` and `dynamic_preprocess` of the model cards.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from common.config import ImageLimits
from common.errors import MismatchError
from common.image_file import inspect_image, open_rgb, turned
from common.image_options import ImageOptions
from common.model_config import ModelConfig
from common.tiling import TileGrid, TilingOptions, choose_grid
from vision_service.images import TiledImage


class Preprocessor:
    """Cuts pictures; holds no state, so any number of threads may share it."""

    def __init__(self, config: ModelConfig, limits: ImageLimits) -> None:
        self._tiling = config.tiling
        self._limits = limits
        self._mean = torch.tensor(config.pixel_mean, dtype=torch.float32).view(3, 1, 1)
        self._std = torch.tensor(config.pixel_std, dtype=torch.float32).view(3, 1, 1)

    def tile(
        self, data: bytes, options: ImageOptions | None = None, expected_tiles: int | None = None
    ) -> TiledImage:
        """Decode and cut one picture.

        Args:
            data: The file's bytes.
            options: What is done to it; None for the checkpoint's own.
            expected_tiles: Tile count that the caller derived; None for any.

        Raises:
            InvalidImageError: It breaks a bound or cannot be decoded.
            MismatchError: The header gives another tile count; nothing was decoded.
        """
        options = options or ImageOptions(self._tiling)
        size = inspect_image(data, "", self._limits)
        num_tiles = options.grid(size).num_tiles
        if expected_tiles is not None and expected_tiles != num_tiles:
            raise other_tile_count(expected_tiles, num_tiles)
        image = open_rgb(data, (size.format,))
        if options.apply_orientation:
            image = turned(image, size.orientation)
        return self.tile_image(image, options.tiling)

    def tile_image(self, image: Image.Image, tiling: TilingOptions | None = None) -> TiledImage:
        """Cut one decoded RGB picture; without options as the checkpoint says."""
        tiling = tiling or self._tiling
        grid = choose_grid(image.width, image.height, tiling)
        tiles = _cut(image, grid, tiling.tile_size)
        first_seen: dict[bytes, int] = {}
        twins = tuple(first_seen.setdefault(t.tobytes(), i) for i, t in enumerate(tiles))
        return TiledImage(grid, self._normalise(tiles), twins)

    def _normalise(self, tiles: list[NDArray[np.uint8]]) -> torch.Tensor:
        """Turn [S, S, 3] arrays into one [T, 3, S, S] float32 tensor."""
        stacked = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2)
        pixels = stacked.to(torch.float32, memory_format=torch.contiguous_format)
        # ToTensor, then Normalize: one fused multiply and add would differ in the last bit.
        return pixels.div_(255).sub_(self._mean).div_(self._std)


def other_tile_count(expected: int, found: int) -> MismatchError:
    """The error of a caller who derived another tile count."""
    return MismatchError(
        f"Tile count differs: the caller has {expected}, the vision replica {found}."
    )


def _cut(image: Image.Image, grid: TileGrid, side: int) -> list[NDArray[np.uint8]]:
    """Cut into [S, S, 3] arrays."""
    whole = np.asarray(_resize(image, side * grid.columns, side * grid.rows))
    tiles = [whole[top:bottom, left:right] for left, top, right, bottom in grid.boxes(side)]
    if grid.has_thumbnail:
        tiles.append(np.asarray(_resize(image, side, side)))
    return tiles


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BICUBIC)
