"""What a vision replica is asked for and what comes of it, past the wire."""

from dataclasses import dataclass

import torch

from common.image_options import ImageOptions
from protos.dvd.v1 import embedding_pb2
from vision_service.images import ScoredImage


@dataclass(frozen=True, slots=True)
class PlannedPush:
    """An embedding that is about to be asked for.

    Attributes:
        compressed: For each tile whether it is compressed.
        dtype: Element type.
    """

    compressed: tuple[bool, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """One picture to encode.

    Attributes:
        data: The file's bytes.
        expected_tiles: Tile count that the caller derived from the header.
        options: How it is turned and cut; None for the checkpoint's own way.
        planned: What will be pushed, where that is decided; kept, it saves encoding.
    """

    data: bytes
    expected_tiles: int
    options: ImageOptions | None = None
    planned: PlannedPush | None = None


@dataclass(frozen=True, slots=True)
class EncodeResult:
    """An encoded picture, and what it took; nothing if it was kept.

    Attributes:
        image: Its scores; an `EncodedImage` unless its embedding does instead.
        queue_seconds: Waiting for a decoder and for the engine.
        preprocess_seconds: Decoding and tiling.
        vit_seconds: Vision transformer.
        gate_seconds: Resolution gate.
    """

    image: ScoredImage
    queue_seconds: float = 0.0
    preprocess_seconds: float = 0.0
    vit_seconds: float = 0.0
    gate_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PushTask:
    """One picture to send.

    Attributes:
        image_key: Name of a kept picture.
        compressed: For each tile whether to compress it.
        slot: Place to fill.
        destination: `host:port` of the language replica.
        dtype: Element type that it wants.
        timeout_seconds: Time left; None for no limit.
    """

    image_key: bytes
    compressed: tuple[bool, ...]
    slot: embedding_pb2.EmbeddingSlot
    destination: str
    dtype: torch.dtype
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push took.

    Attributes:
        num_bytes: Payload bytes.
        project_seconds: Projection; 0 where the embedding was kept.
        transfer_seconds: From the manifest to the commit.
        tile_tokens: Visual tokens of each tile.
    """

    num_bytes: int
    project_seconds: float
    transfer_seconds: float
    tile_tokens: tuple[int, ...]
