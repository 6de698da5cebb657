"""One embedding to make: which tiles of which picture, how, and who waits for it."""

from concurrent.futures import Future
from dataclasses import dataclass

import torch

from vision_service.images import EncodedImage, ProjectedImage


@dataclass(frozen=True, slots=True, eq=False)
class ProjectJob:
    """A projection that waits for the engine.

    Attributes:
        encoded: The picture.
        compressed: For each tile whether to compress it.
        dtype: Element type of the embedding.
        waiter: Gets the result.
    """

    encoded: EncodedImage
    compressed: tuple[bool, ...]
    dtype: torch.dtype
    waiter: Future[ProjectedImage]
