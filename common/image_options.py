"""What is done to a picture between its file and its tiles.

The router derives the options at the door, from checkpoint, configuration and request; the vision
service is told them with the picture. Both derive grid and key here, so that they always agree.
"""

import hashlib
from dataclasses import dataclass

from common.image_file import SIDEWAYS, ImageSize
from common.tiling import TileGrid, TilingOptions, choose_grid


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How one picture is turned and cut.

    Attributes:
        tiling: How it is cut.
        apply_orientation: Whether EXIF orientation is applied; the published pipeline does not.
    """

    tiling: TilingOptions
    apply_orientation: bool = False

    def grid(self, size: ImageSize) -> TileGrid:
        """How a picture of this size is cut."""
        width, height = size.width, size.height
        if self.apply_orientation and size.orientation in SIDEWAYS:
            width, height = height, width
        return choose_grid(width, height, self.tiling)

    def key(self, data: bytes) -> bytes:
        """Name a picture by its bytes and these options.

        Returns:
            16 bytes: equal pictures under equal options have equal keys.
        """
        digest = hashlib.blake2b(repr(self).encode(), digest_size=16)
        digest.update(data)
        return digest.digest()
