"""A picture after each stage of the vision service: cut, encoded, projected.

Shapes: T tiles, S the side of a tile in pixels, P patches a tile, d and h the widths of the vision
transformer and the language model.
"""

from dataclasses import dataclass

import torch

from common.tiling import TileGrid


@dataclass(frozen=True, slots=True, eq=False)
class TiledImage:
    """A picture, cut by the preprocessor.

    Attributes:
        grid: How it was cut.
        pixels: [T, 3, S, S] float32, normalised; row by row, the thumbnail last.
        twins: For each tile the first tile with the same pixels: mostly itself. Blank parts of a
            page are equal, and so are encoded once and score the same.
    """

    grid: TileGrid
    pixels: torch.Tensor
    twins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EncodeTimings:
    """Where the engine's time for one picture went; the sum runs from submission to result.

    Attributes:
        queue_seconds: Until a batch took the first tile.
        vit_seconds: Vision transformer, first batch to last, tiles of others in between included.
        gate_seconds: Resolution gate.
    """

    queue_seconds: float
    vit_seconds: float
    gate_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class ScoredImage:
    """What the resolution decision needs of one picture.

    Attributes:
        image_key: Name of the picture and its processing options.
        grid: How it was cut.
        scores: Probability of "compress" per tile; empty without a gate.
    """

    image_key: bytes
    grid: TileGrid
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage(ScoredImage):
    """Output of vision transformer and gate for one picture.

    Attributes as those of `ScoredImage`, and:

    Attributes:
        features: [T, P, d], contiguous, on the engine's device.
        timings: Where the time went.
    """

    features: torch.Tensor
    timings: EncodeTimings

    @property
    def num_bytes(self) -> int:
        """Bytes of the features."""
        return self.features.numel() * self.features.element_size()


@dataclass(frozen=True, slots=True, eq=False)
class ProjectedImage:
    """A picture's visual tokens, ready to send.

    Attributes:
        tile_tokens: Visual tokens of each tile, in tile order.
        embeddings: [sum of tile_tokens, h] on the CPU, contiguous.
        project_seconds: Projection, copy to the CPU included.
    """

    tile_tokens: tuple[int, ...]
    embeddings: torch.Tensor
    project_seconds: float

    @property
    def num_bytes(self) -> int:
        """Bytes of the embeddings."""
        return self.embeddings.numel() * self.embeddings.element_size()
