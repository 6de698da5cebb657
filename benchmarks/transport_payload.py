"""What the transports carry: pictures of tiles as an InternVL3.5-8B would have them."""

from dataclasses import dataclass

import torch

from common.tensor_codec import tensor_bytes
from language_service.embedding_manifest import EmbeddingFormat
from language_service.reservation import ExpectedImage
from protos.dvd.v1 import embedding_pb2

HIDDEN_SIZE = 4096
TILE_TOKENS = 256
TILE_BYTES = TILE_TOKENS * HIDDEN_SIZE * 2
FORMAT = EmbeddingFormat(
    model_fingerprint="benchmark",
    dtype=torch.bfloat16,
    hidden_size=HIDDEN_SIZE,
    full_tokens=TILE_TOKENS,
    compressed_tokens=TILE_TOKENS // 4,
)


@dataclass(frozen=True, slots=True)
class Size:
    """One kind of payload.

    Attributes:
        name: Begins the ids of its requests.
        num_tiles: Tiles at full resolution, 2 MiB each.
    """

    name: str
    num_tiles: int

    @property
    def num_bytes(self) -> int:
        """Payload bytes."""
        return self.num_tiles * TILE_BYTES

    @property
    def image(self) -> ExpectedImage:
        """The picture as the inbox expects it."""
        return ExpectedImage(self.name.encode(), self.num_tiles)


PICTURE = Size("picture", 13)
TILE = Size("tile", 1)
SIZES = {size.name: size for size in (PICTURE, TILE)}


def payload(size: Size) -> memoryview:
    """Random embeddings."""
    values = torch.randn(size.num_tiles * TILE_TOKENS, HIDDEN_SIZE).to(torch.bfloat16)
    return tensor_bytes(values)


def manifest(size: Size, number: int) -> embedding_pb2.EmbeddingManifest:
    """Manifest of the embedding of one request."""
    return embedding_pb2.EmbeddingManifest(
        slot=embedding_pb2.EmbeddingSlot(request_id=f"{size.name}-{number}"),
        image_key=size.image.image_key,
        model_fingerprint=FORMAT.model_fingerprint,
        dtype=embedding_pb2.D_TYPE_BFLOAT16,
        hidden_size=HIDDEN_SIZE,
        tile_tokens=[TILE_TOKENS] * size.num_tiles,
        num_bytes=size.num_bytes,
    )
