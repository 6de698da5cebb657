"""Pictures in, features kept; features out, embeddings sent: the asyncio side of the engine.

Encode runs decode and tiling in a bounded thread pool, then vision transformer and gate on the
engine thread, and keeps the result under the picture's key. Push projects a kept picture at the
given resolutions and streams it to its destination. The stages overlap: pictures are decoded while
others are in the vision transformer, and sent while others are projected. Tiles bound what waits
for the engine, turns bound what is on its way to one language replica. Equal work is done once,
whether the first of it is done or under way.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from common.config import VisionServiceConfig
from common.errors import (
    EmbeddingRejectedError,
    OverloadedError,
)
from common.image_options import ImageOptions
from common.model_config import ModelConfig
from common.tensor_codec import WIRE_DTYPES, tensor_bytes
from protos.dvd.v1 import embedding_pb2
from vision_service.encoder_stats import EncoderStats
from vision_service.engine import VisionEngine
from vision_service.feature_cache import FeatureCache, ProjectionName
from vision_service.images import ProjectedImage, ScoredImage, TiledImage
from vision_service.preprocess import Preprocessor, other_tile_count
from vision_service.requests import EncodeResult, EncodeTask, PlannedPush, PushResult, PushTask
from vision_service.sender import EmbeddingSender
from vision_service.single_flight import SingleFlight


@dataclass(frozen=True, slots=True)
class TimedTiling:
    """A tiled picture and when its decoder was at work, on the monotonic clock."""

    tiled: TiledImage
    began_at: float
    ended_at: float


class Encoder:
    """Encodes and pushes pictures on one engine and one cache; used from one event loop.

    Attributes:
        stats: What was computed, in which time, and what keeping has saved.
        streams: Embedding streams, by what became of them.
        encodings: Pictures under way.
        projections: Projections under way.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        service_config: VisionServiceConfig,
        preprocessor: Preprocessor,
        engine: VisionEngine,
        cache: FeatureCache,
    ) -> None:
        self.stats = EncoderStats()
        self.encodings: SingleFlight[bytes, EncodeResult] = SingleFlight()
        self.projections: SingleFlight[ProjectionName, ProjectedImage] = SingleFlight()
        self._options = ImageOptions(model_config.tiling)
        self._max_outstanding_tiles = service_config.max_outstanding_tiles
        self._max_pushes = service_config.max_pushes_per_destination
        self._turns = WeakValueDictionary[str, asyncio.Semaphore]()
        self._preprocessor = preprocessor
        self._engine = engine
        self._cache = cache
        self._sender = EmbeddingSender(service_config.chunk_bytes)
        self.streams = self._sender.streams
        self._decoders = ThreadPoolExecutor(service_config.decode_threads, "decode")

    async def encode(self, task: EncodeTask) -> EncodeResult:
        """Encode one picture, join those who wait for it already, or find it kept.

        Raises:
            InvalidImageError: It cannot be decoded or breaks a bound.
            MismatchError: The caller derived another tile count.
            OverloadedError: Too many tiles are waiting.
        """
        options = task.options or self._options
        # A large file takes long to hash, and the loop has streams to serve.
        key = await asyncio.to_thread(options.key, task.data)
        kept = self._kept(key, task.planned)
        if kept is not None:
            self.stats.num_kept_images += 1
            result = EncodeResult(kept)
        else:
            result = await self.encodings.run(key, lambda: self._encode(key, options, task))
        if result.image.grid.num_tiles != task.expected_tiles:
            raise other_tile_count(task.expected_tiles, result.image.grid.num_tiles)
        return result

    async def push(self, task: PushTask, fingerprint: str) -> PushResult:
        """Project one kept picture, unless its embedding is kept, and send it.

        Raises:
            FeaturesNotFoundError: It is no longer kept.
            EmbeddingRejectedError: The mask has another length than the picture has tiles.
            DvdError: What the language replica answered.
        """
        turns = self._turns.setdefault(task.destination, asyncio.Semaphore(self._max_pushes))
        async with turns, self._projected(task) as projected:
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

    def _kept(self, key: bytes, planned: PlannedPush | None) -> ScoredImage | None:
        """What is kept of a picture, where a push can follow without the vision transformer."""
        encoded = self._cache.find(key)
        if encoded is not None or planned is None:
            return encoded
        return self._cache.find_scored(ProjectionName(key, planned.compressed, planned.dtype))

    async def _encode(self, key: bytes, options: ImageOptions, task: EncodeTask) -> EncodeResult:
        waiting = self._engine.outstanding_tiles + self._engine.coming_tiles
        if waiting + task.expected_tiles > self._max_outstanding_tiles:
            raise OverloadedError("The vision replica has too many tiles waiting.")
        submitted_at = time.monotonic()
        with self._engine.coming(task.expected_tiles):
            loop = asyncio.get_running_loop()
            tiling = await loop.run_in_executor(self._decoders, self._tile, task, options)
            submitted = self._engine.submit_encode(key, tiling.tiled)
        image = await asyncio.wrap_future(submitted)
        self._cache.commit(image)
        result = EncodeResult(
            image,
            tiling.began_at - submitted_at + image.timings.queue_seconds,
            tiling.ended_at - tiling.began_at,
            image.timings.vit_seconds,
            image.timings.gate_seconds,
        )
        self.stats.note_encoded(result)
        return result

    def _tile(self, task: EncodeTask, options: ImageOptions) -> TimedTiling:
        with self.stats.preprocessing.doing():
            began_at = time.monotonic()
            tiled = self._preprocessor.tile(task.data, options, task.expected_tiles)
            return TimedTiling(tiled, began_at, time.monotonic())

    @asynccontextmanager
    async def _projected(self, task: PushTask) -> AsyncIterator[ProjectedImage]:
        """Hold an embedding, kept where there is room, for the length of the context."""
        name = ProjectionName(task.image_key, task.compressed, task.dtype)
        projected = self._cache.acquire_projection(name)
        if projected is not None:
            self.stats.num_kept_projections += 1
            is_held, projected = True, replace(projected, project_seconds=0.0)
        else:
            projected = await self.projections.run(name, lambda: self._project(name))
            is_held = self._cache.acquire_projection(name) is not None
        try:
            yield projected
        finally:
            if is_held:
                self._cache.release(name)

    async def _project(self, name: ProjectionName) -> ProjectedImage:
        image = self._cache.acquire(name.image_key)
        try:
            if len(name.compressed) != image.grid.num_tiles:
                raise EmbeddingRejectedError(
                    f"The mask has {len(name.compressed)} tiles, the picture "
                    f"{image.grid.num_tiles}."
                )
            projected = await asyncio.wrap_future(
                self._engine.submit_project(image, name.compressed, name.dtype)
            )
        finally:
            self._cache.release(name.image_key)
        self.stats.projector_seconds.note(projected.project_seconds)
        self._cache.commit_projection(name, projected)
        return projected
