"""From a picture file's bytes to normalised tiles, exactly as the published pipeline makes them.

Decode, RGB, bicubic resize of the whole picture to the grid, crops row by row, thumbnail last,
then ImageNet normalisation in float32. EXIF orientation is not applied, because the published
pipeline does not; of an animation the first frame counts.

Source: `load_image` and `dynamic_preprocess` of the model cards.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from common.config import ImageLimits
from common.errors import InvalidImageError
from common.image_file import DECODER_ERRORS, ImageSize, inspect_image
from common.model_config import ModelConfig
from common.tiling import TileGrid, choose_grid
from vision_service.images import TiledImage


class Preprocessor:
    """Cuts pictures; holds no state, so any number of threads may share it."""

    def __init__(self, config: ModelConfig, limits: ImageLimits) -> None:
        self._tiling = config.tiling
        self._limits = limits
        self._mean = torch.tensor(config.pixel_mean, dtype=torch.float32).view(3, 1, 1)
        self._std = torch.tensor(config.pixel_std, dtype=torch.float32).view(3, 1, 1)

    def tile(self, data: bytes) -> TiledImage:
        """Decode and cut one picture.

        Args:
            data: The file's bytes.

        Raises:
            InvalidImageError: It breaks a bound or cannot be decoded.
        """
        return self.tile_image(_decode(data, inspect_image(data, "", self._limits)))

    def tile_image(self, image: Image.Image) -> TiledImage:
        """Cut one decoded RGB picture."""
        grid = choose_grid(image.width, image.height, self._tiling)
        tiles = self._cut(image, grid)
        first_seen: dict[bytes, int] = {}
        twins = tuple(first_seen.setdefault(t.tobytes(), i) for i, t in enumerate(tiles))
        return TiledImage(grid, self._normalise(tiles), twins)

    def _cut(self, image: Image.Image, grid: TileGrid) -> list[NDArray[np.uint8]]:
        """Cut into [S, S, 3] arrays."""
        side = self._tiling.tile_size
        whole = np.asarray(_resize(image, side * grid.columns, side * grid.rows))
        boxes = grid.boxes(side)
        tiles = [whole[top:bottom, left:right] for left, top, right, bottom in boxes]
        if grid.has_thumbnail:
            tiles.append(np.asarray(_resize(image, side, side)))
        return tiles

    def _normalise(self, tiles: list[NDArray[np.uint8]]) -> torch.Tensor:
        """Turn [S, S, 3] arrays into one [T, 3, S, S] float32 tensor."""
        stacked = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2)
        pixels = stacked.to(torch.float32, memory_format=torch.contiguous_format)
        # ToTensor, then Normalize: one fused multiply and add would differ in the last bit.
        return pixels.div_(255).sub_(self._mean).div_(self._std)


def _decode(data: bytes, size: ImageSize) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=(size.format,)) as image:
            return image.convert("RGB")
    except DECODER_ERRORS as cause:
        raise InvalidImageError("The picture is damaged or truncated.") from cause


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BICUBIC)
