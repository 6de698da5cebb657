"""A vision stage for `benchmarks/vision.py`: real encoder and engine, a real inbox behind it."""

import io
import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import nn

from common.config import ImageLimits, LanguageServiceConfig, VisionServiceConfig
from common.engine_thread import EngineThread
from common.image_options import ImageOptions
from common.model_config import VisionShape, load_model_config
from common.replica_server import ReplicaSpec
from language_service.inbox import ExpectedImage
from language_service.replica import LanguageReplica
from protos.dvd.v1 import embedding_pb2
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO, CheckpointShape
from vision_service.encoding import Encoder
from vision_service.engine import VisionEngine
from vision_service.feature_cache import FeatureCache
from vision_service.preprocess import Preprocessor
from vision_service.requests import EncodeTask, PlannedPush, PushTask
from vision_service.vision_model import VisionModel

HOST = "127.0.0.1"
# The language replica only receives: small layers, but visual tokens as wide as those of 1B.
TEXT = replace(MICRO.text, hidden_size=1024)


@dataclass(frozen=True, slots=True)
class VisionShapes:
    """Which models are measured.

    Attributes:
        width: Of the vision transformer.
        num_heads: Of its attention.
        layers: Of it, but for the goal of batching.
        batching_layers: Of it there; more, because the gate runs tile by tile anyway.
        tile_size: Side of a tile in pixels, but for the goal of batching.
        num_requests: Of the measurement of repeated pictures.
    """

    width: int = 1024
    num_heads: int = 16
    layers: int = 1
    batching_layers: int = 12
    tile_size: int = 448
    num_requests: int = 8

    @staticmethod
    def tiny() -> "VisionShapes":
        """Sizes that only show that it runs."""
        return VisionShapes(64, 2, 1, 1, 112, 4)

    def of(self, tile_size: int, num_layers: int) -> VisionShape:
        """A shape."""
        return replace(
            MICRO.vision,
            hidden_size=self.width,
            num_layers=num_layers,
            num_heads=self.num_heads,
            intermediate_size=4 * self.width,
            tile_size=tile_size,
        )


class TimedModel(nn.Module):
    """A model that counts the CPU seconds that its three stages take on the engine's thread.

    Attributes:
        seconds: So far.
    """

    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.seconds = 0.0
        self.model = model
        self.has_gate, self.device, self.dtype = model.has_gate, model.device, model.dtype

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """As the model's."""
        return self._timed(self.model.encode, pixels)

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """As the model's."""
        return self._timed(self.model.scores, features)

    def project(self, features: torch.Tensor, compressed: tuple[bool, ...]) -> torch.Tensor:
        """As the model's."""
        return self._timed(self.model.project, features, compressed)

    def _timed(self, stage: Any, *arguments: Any) -> torch.Tensor:
        began = time.thread_time()
        result: torch.Tensor = stage(*arguments)
        self.seconds += time.thread_time() - began
        return result


class VisionStage:
    """One engine, its encoder, and a language replica that takes what is pushed."""

    def __init__(self, shape: VisionShape, folder: Path, max_batch_tiles: int) -> None:
        """Build everything; the context starts and stops it.

        Args:
            shape: Of the vision transformer.
            folder: For the language replica's checkpoint.
            max_batch_tiles: Most tiles of one pass.
        """
        directory = _language_checkpoint(folder, shape.tile_size)
        config = replace(load_model_config(directory), vision=shape)
        torch.manual_seed(0)
        self._model = TimedModel(VisionModel(config).eval().requires_grad_(False))
        service = VisionServiceConfig(max_batch_tiles=max_batch_tiles)
        self.engine = VisionEngine(
            self._model,  # type: ignore[arg-type]  # the same three stages
            config,
            max_batch_tiles,
            time.monotonic,
            service.max_batch_wait_seconds,
        )
        self._thread = EngineThread(
            "vision", self.engine.step, _crashed, self.engine.seconds_to_wait
        )
        self.engine.on_work = self._thread.wake
        cache = FeatureCache(service.feature_cache_bytes)
        preprocessor = Preprocessor(config, ImageLimits())
        self._encoder = Encoder(config, service, preprocessor, self.engine, cache)
        self._language = LanguageReplica(
            ReplicaSpec("language-0", directory, "cpu"), LanguageServiceConfig(), _crashed
        )
        self._options = ImageOptions(config.tiling)
        self._requests = itertools.count()

    @property
    def model_seconds(self) -> float:
        """CPU seconds of vision transformer, gate and projectors so far."""
        return self._model.seconds

    async def __aenter__(self) -> Self:
        self._thread.start()
        self._address = await self._language.start(HOST)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._encoder.close()
        self._thread.stop()
        await self._language.stop(0)

    async def encode(self, file: bytes, num_tiles: int, planned: PlannedPush | None = None) -> None:
        """Encode a picture."""
        await self._encoder.encode(EncodeTask(file, num_tiles, self._options, planned))

    async def serve(self, file: bytes, num_tiles: int) -> None:
        """Encode a picture and push it, every other tile compressed, into a request's inbox."""
        request_id = str(next(self._requests))
        mask = tuple(index % 2 == 1 for index in range(num_tiles))
        key = self._options.key(file)
        inbox = self._language.inbox
        async with inbox.reserve(request_id, [ExpectedImage(key, num_tiles)]) as reservation:
            arrived: list[Any] = []
            reservation.on_arrival = arrived.append
            await self.encode(file, num_tiles, PlannedPush(mask, torch.float32))
            slot = embedding_pb2.EmbeddingSlot(request_id=request_id)
            task = PushTask(key, mask, slot, self._address.address, torch.float32, None)
            await self._encoder.push(task, self._address.fingerprint)
            if len(arrived) != 1:
                raise AssertionError("a push that succeeds has arrived")


def picture(side: int, seed: int) -> bytes:
    """Draw a square picture of soft colours with grain, as a camera gives them, as JPEG."""
    source = np.random.default_rng(seed)
    coarse = Image.fromarray(source.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = source.integers(-24, 25, soft.shape, dtype=np.int16)
    stream = io.BytesIO()
    Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _language_checkpoint(folder: Path, tile_size: int) -> Path:
    """A checkpoint whose tiles have as many visual tokens; its vision side is never loaded."""
    directory = folder / str(tile_size)
    if not directory.exists():
        directory.mkdir()
        vision = replace(MICRO.vision, tile_size=tile_size)
        build_checkpoint(directory, CheckpointOptions(shape=CheckpointShape(vision, TEXT)))
    return directory


def _crashed() -> None:
    raise AssertionError("an engine thread died")
