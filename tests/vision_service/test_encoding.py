"""Encode and push around the engine: kept pictures, bounds, and what is left after a failure."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import torch

from common.config import ImageLimits, VisionServiceConfig
from common.engine_thread import EngineThread
from common.errors import (
    EmbeddingRejectedError,
    FeaturesNotFoundError,
    InvalidImageError,
    MismatchError,
    OverloadedError,
    UnavailableError,
)
from common.image_file import image_key
from common.model_config import ModelConfig
from protos.dvd.v1 import embedding_pb2
from tests import pictures
from tests.fakes import until
from vision_service.encoding import Encoder, EncodeTask, PushTask
from vision_service.engine import VisionEngine
from vision_service.feature_cache import FeatureCache
from vision_service.preprocess import Preprocessor
from vision_service.vision_model import VisionModel

SERVICE = VisionServiceConfig(max_outstanding_tiles=8, decode_threads=1)
NUM_TILES = 5
NOBODY = "127.0.0.1:1"


class Vision:
    """An encoder and its parts; nothing is encoded before the engine's thread is started."""

    def __init__(self, model: VisionModel, config: ModelConfig) -> None:
        self.engine = VisionEngine(model, config, 16, time.monotonic)
        self.cache = FeatureCache(1 << 24)
        preprocessor = Preprocessor(config, ImageLimits())
        self.encoder = Encoder(config, SERVICE, preprocessor, self.engine, self.cache)
        self.thread = EngineThread("vision", self.engine.step, lambda: None)
        self.engine.on_work = self.thread.wake
        self.tiling = config.tiling

    def key(self, data: bytes) -> bytes:
        return image_key(data, self.tiling)

    def push_task(self, key: bytes, num_tiles: int = NUM_TILES) -> PushTask:
        slot = embedding_pb2.EmbeddingSlot(request_id="r1")
        return PushTask(key, (False,) * num_tiles, slot, NOBODY, torch.float32, 5.0)


@pytest_asyncio.fixture
async def vision(model: VisionModel, config: ModelConfig) -> AsyncIterator[Vision]:
    made = Vision(model, config)
    yield made
    await made.encoder.close()
    made.thread.stop()


def picture(seed: int = 0) -> EncodeTask:
    """A picture that is cut into five different tiles."""
    return EncodeTask(pictures.shapes(112, 112, seed), NUM_TILES)


async def test_a_picture_is_encoded_and_kept(vision: Vision) -> None:
    vision.thread.start()
    result = await vision.encoder.encode(picture())
    assert result.image.image_key == vision.key(picture().data)
    assert len(result.image.scores) == NUM_TILES
    assert result.preprocess_seconds > 0
    assert result.vit_seconds > 0
    assert vision.cache.find(result.image.image_key) is result.image


async def test_a_kept_picture_costs_nothing(vision: Vision) -> None:
    vision.thread.start()
    first = await vision.encoder.encode(picture())
    again = await vision.encoder.encode(picture())
    assert again.image is first.image
    assert (again.queue_seconds, again.preprocess_seconds, again.vit_seconds) == (0, 0, 0)
    assert vision.engine.stats.num_tiles == NUM_TILES


async def test_another_tile_count_than_the_callers_is_a_mismatch(vision: Vision) -> None:
    task = EncodeTask(picture().data, NUM_TILES + 1)
    with pytest.raises(MismatchError) as caught:
        await vision.encoder.encode(task)
    assert caught.value.message == ("Tile count differs: the caller has 6, the vision replica 5.")
    assert vision.engine.outstanding_tiles == 0


async def test_what_is_no_picture_reaches_no_engine(vision: Vision) -> None:
    with pytest.raises(InvalidImageError):
        await vision.encoder.encode(EncodeTask(b"no picture", 1))
    assert vision.engine.outstanding_tiles == 0


async def test_waiting_tiles_are_bounded(vision: Vision) -> None:
    first = asyncio.create_task(vision.encoder.encode(picture(1)))
    await until(lambda: bool(vision.engine.outstanding_tiles))
    with pytest.raises(OverloadedError, match="too many tiles waiting"):
        await vision.encoder.encode(picture(2))
    vision.thread.start()
    await first


async def test_tiles_that_are_still_being_decoded_wait_too(vision: Vision) -> None:
    vision.thread.start()
    burst = (vision.encoder.encode(picture(seed)) for seed in range(4))
    results = await asyncio.gather(*burst, return_exceptions=True)
    refused = [result for result in results if isinstance(result, OverloadedError)]
    assert len(refused) == 3
    assert (await vision.encoder.encode(picture(9))).image.grid.num_tiles == NUM_TILES


async def test_a_failed_decoding_waits_no_more(vision: Vision) -> None:
    vision.thread.start()
    for _ in range(3):
        with pytest.raises(InvalidImageError):
            await vision.encoder.encode(EncodeTask(b"no picture", NUM_TILES))
    await vision.encoder.encode(picture())


async def test_a_cancelled_request_leaves_no_tiles_behind(vision: Vision) -> None:
    task = asyncio.create_task(vision.encoder.encode(picture()))
    await until(lambda: bool(vision.engine.outstanding_tiles))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    vision.engine.step()
    assert vision.engine.outstanding_tiles == 0
    assert vision.cache.num_images == 0


async def test_a_picture_that_is_not_kept_cannot_be_pushed(vision: Vision) -> None:
    with pytest.raises(FeaturesNotFoundError):
        await vision.encoder.push(vision.push_task(b"unknown"), "fingerprint")


async def test_a_mask_of_another_length_is_refused(vision: Vision) -> None:
    vision.thread.start()
    key = (await vision.encoder.encode(picture())).image.image_key
    with pytest.raises(EmbeddingRejectedError, match="The mask has 4 tiles, the picture 5"):
        await vision.encoder.push(vision.push_task(key, num_tiles=4), "fingerprint")
    assert vision.cache.referenced_bytes == 0


async def test_a_push_to_nobody_is_unavailable_and_frees_the_features(vision: Vision) -> None:
    vision.thread.start()
    key = (await vision.encoder.encode(picture())).image.image_key
    with pytest.raises(UnavailableError):
        await vision.encoder.push(vision.push_task(key), "fingerprint")
    assert vision.cache.referenced_bytes == 0
