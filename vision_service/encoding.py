"""Pictures in, features kept; features out, embeddings sent: the asyncio side of the engine.

Encode runs decode and tiling in a bounded thread pool, then vision transformer and gate on the
engine thread, and keeps the result under the picture's key. Push projects a kept picture at the
given resolutions and streams it to its destination.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from common.config import VisionServiceConfig
from common.errors import EmbeddingRejectedError, MismatchError, OverloadedError
from common.image_file import image_key
from common.model_config import ModelConfig
from common.tensor_codec import WIRE_DTYPES, tensor_bytes
from protos.dvd.v1 import embedding_pb2
from vision_service.engine import VisionEngine
from vision_service.feature_cache import FeatureCache
from vision_service.images import EncodedImage, TiledImage
from vision_service.preprocess import Preprocessor
from vision_service.sender import EmbeddingSender


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """One picture to encode.

    Attributes:
        data: The file's bytes.
        expected_tiles: Tile count that the caller derived from the header.
    """

    data: bytes
    expected_tiles: int


@dataclass(frozen=True, slots=True)
class EncodeResult:
    """An encoded picture, and what it took; nothing if it was kept.

    Attributes:
        image: Its features and scores.
        queue_seconds: Waiting for a decoder and for the engine.
        preprocess_seconds: Decoding and tiling.
        vit_seconds: Vision transformer.
        gate_seconds: Resolution gate.
    """

    image: EncodedImage
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
        project_seconds: Projection.
        transfer_seconds: From the manifest to the commit.
        tile_tokens: Visual tokens of each tile.
    """

    num_bytes: int
    project_seconds: float
    transfer_seconds: float
    tile_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TimedTiling:
    """A tiled picture and when its decoder was at work, on the monotonic clock."""

    tiled: TiledImage
    began_at: float
    ended_at: float


class Encoder:
    """Encodes and pushes pictures on one engine and one cache."""

    def __init__(
        self,
        model_config: ModelConfig,
        service_config: VisionServiceConfig,
        preprocessor: Preprocessor,
        engine: VisionEngine,
        cache: FeatureCache,
    ) -> None:
        self._tiling_options = model_config.tiling
        self._max_outstanding_tiles = service_config.max_outstanding_tiles
        self._preprocessor = preprocessor
        self._engine = engine
        self._cache = cache
        self._sender = EmbeddingSender(service_config.chunk_bytes)
        self._decoders = ThreadPoolExecutor(service_config.decode_threads, "decode")
        self._decoding_tiles = 0

    async def encode(self, task: EncodeTask) -> EncodeResult:
        """Encode one picture, or find it kept.

        Raises:
            InvalidImageError: It cannot be decoded or breaks a bound.
            MismatchError: The caller derived another tile count.
            OverloadedError: Too many tiles are waiting.
        """
        key = image_key(task.data, self._tiling_options)
        kept = self._cache.find(key)
        if kept is not None:
            return EncodeResult(kept)
        waiting = self._engine.outstanding_tiles + self._decoding_tiles
        if waiting + task.expected_tiles > self._max_outstanding_tiles:
            raise OverloadedError("The vision replica has too many tiles waiting.")
        submitted_at = time.monotonic()
        tiling = await self._decode(task)
        num_tiles = tiling.tiled.grid.num_tiles
        if num_tiles != task.expected_tiles:
            raise MismatchError(
                f"Tile count differs: the caller has {task.expected_tiles}, "
                f"the vision replica {num_tiles}."
            )
        image = await asyncio.wrap_future(self._engine.submit_encode(key, tiling.tiled))
        self._cache.commit(image)
        return EncodeResult(
            image,
            tiling.began_at - submitted_at + image.timings.queue_seconds,
            tiling.ended_at - tiling.began_at,
            image.timings.vit_seconds,
            image.timings.gate_seconds,
        )

    async def push(self, task: PushTask, fingerprint: str) -> PushResult:
        """Project one kept picture and send it.

        Raises:
            FeaturesNotFoundError: It is no longer kept.
            EmbeddingRejectedError: The mask has another length than the picture has tiles.
            DvdError: What the language replica answered.
        """
        image = self._cache.acquire(task.image_key)
        try:
            if len(task.compressed) != image.grid.num_tiles:
                raise EmbeddingRejectedError(
                    f"The mask has {len(task.compressed)} tiles, the picture "
                    f"{image.grid.num_tiles}."
                )
            projected = await asyncio.wrap_future(
                self._engine.submit_project(image, task.compressed, task.dtype)
            )
        finally:
            self._cache.release(task.image_key)
        payload = tensor_bytes(projected.embeddings)
        manifest = embedding_pb2.EmbeddingManifest(
            slot=task.slot,
            image_key=task.image_key,
            model_fingerprint=fingerprint,
            dtype=WIRE_DTYPES[task.dtype],
            hidden_size=projected.embeddings.shape[-1],
            tile_tokens=projected.tile_tokens,
            num_bytes=len(payload),
        )
        transfer = await self._sender.send(
            task.destination, manifest, payload, task.timeout_seconds
        )
        return PushResult(
            transfer.num_bytes, projected.project_seconds, transfer.seconds, projected.tile_tokens
        )

    async def close(self) -> None:
        """End the decoders and close the channels."""
        self._decoders.shutdown(wait=True, cancel_futures=True)
        await self._sender.close()

    async def _decode(self, task: EncodeTask) -> TimedTiling:
        loop = asyncio.get_running_loop()
        self._decoding_tiles += task.expected_tiles
        try:
            return await loop.run_in_executor(self._decoders, self._tile, task.data)
        finally:
            self._decoding_tiles -= task.expected_tiles

    def _tile(self, data: bytes) -> TimedTiling:
        began_at = time.monotonic()
        return TimedTiling(self._preprocessor.tile(data), began_at, time.monotonic())
