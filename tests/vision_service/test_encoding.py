"""Encode and push around the engine: kept pictures, bounds, and what is left after a failure."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

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
from common.image_options import ImageOptions
from common.model_config import ModelConfig
from protos.dvd.v1 import embedding_pb2, language_pb2_grpc
from tests import pictures
from tests.fakes import until
from tests.loopback import serving
from vision_service.encoding import Encoder
from vision_service.engine import VisionEngine
from vision_service.feature_cache import FeatureCache, ProjectionName
from vision_service.images import TiledImage
from vision_service.preprocess import Preprocessor
from vision_service.requests import EncodeTask, PlannedPush, PushTask
from vision_service.vision_model import VisionModel

SERVICE = VisionServiceConfig(
    max_outstanding_tiles=8, decode_threads=1, max_pushes_per_destination=2
)
PLANNED = PlannedPush((False,) * 5, torch.float32)
ADD = language_pb2_grpc.add_LanguageServiceServicer_to_server
NUM_TILES = 5
NOBODY = "127.0.0.1:1"


class CountingPreprocessor(Preprocessor):
    """Counts the pictures that it decodes."""

    num_decoded = 0

    def tile(self, *arguments: Any) -> TiledImage:
        self.num_decoded += 1
        return super().tile(*arguments)


class Receiver(language_pb2_grpc.LanguageServiceServicer):
    """A language replica's end: takes what comes, once it is told to.

    Attributes:
        received: Payload of every stream, by picture index.
        opened: Pictures whose stream has begun.
        may_answer: Until it is set, no credit is given.
    """

    def __init__(self) -> None:
        self.received: dict[int, bytes] = {}
        self.opened: list[int] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def PutEmbeddings(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        manifest = (await anext(aiter(request))).manifest
        self.opened.append(manifest.slot.image_index)
        await self.may_answer.wait()
        credit = embedding_pb2.EmbeddingCredit(limit_bytes=manifest.num_bytes)
        yield embedding_pb2.PutEmbeddingsResponse(credit=credit)
        payload = b"".join([bytes(message.chunk.inline) async for message in request])
        self.received[manifest.slot.image_index] = payload
        committed = embedding_pb2.EmbeddingCommitted(num_bytes=len(payload))
        yield embedding_pb2.PutEmbeddingsResponse(committed=committed)


class Vision:
    """An encoder and its parts; nothing is encoded before the engine's thread is started."""

    def __init__(self, model: VisionModel, config: ModelConfig, cache_bytes: int = 1 << 24) -> None:
        self.engine = VisionEngine(model, config, 16, time.monotonic)
        self.cache = FeatureCache(cache_bytes)
        self.preprocessor = CountingPreprocessor(config, ImageLimits())
        self.encoder = Encoder(config, SERVICE, self.preprocessor, self.engine, self.cache)
        self.thread = EngineThread("vision", self.engine.step, lambda: None)
        self.engine.on_work = self.thread.wake
        self.tiling = config.tiling

    def key(self, data: bytes) -> bytes:
        return ImageOptions(self.tiling).key(data)

    def push_task(
        self, key: bytes, num_tiles: int = NUM_TILES, destination: str = NOBODY, index: int = 0
    ) -> PushTask:
        slot = embedding_pb2.EmbeddingSlot(request_id="r1", image_index=index)
        return PushTask(key, (False,) * num_tiles, slot, destination, torch.float32, 30.0)


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


async def test_pictures_are_decoded_while_others_wait_for_the_engine(vision: Vision) -> None:
    files = [pictures.shapes(56, 56, seed) for seed in range(4)]
    tasks = [asyncio.create_task(vision.encoder.encode(EncodeTask(file, 1))) for file in files]
    await until(lambda: vision.engine.outstanding_tiles == 4)
    assert (vision.preprocessor.num_decoded, vision.engine.stats.num_batches) == (4, 0)
    vision.thread.start()
    await asyncio.gather(*tasks)
    assert vision.engine.stats.num_batches == 1


async def test_equal_pictures_under_way_are_decoded_and_encoded_once(vision: Vision) -> None:
    tasks = [asyncio.create_task(vision.encoder.encode(picture())) for _ in range(3)]
    await until(lambda: vision.encoder.encodings.num_joined == 2)
    vision.thread.start()
    first, *others = await asyncio.gather(*tasks)
    assert all(other.image is first.image for other in others)
    assert (vision.preprocessor.num_decoded, vision.engine.stats.num_tiles) == (1, NUM_TILES)


async def test_a_picture_is_encoded_though_the_first_to_ask_has_left(vision: Vision) -> None:
    leaving = asyncio.create_task(vision.encoder.encode(picture()))
    await until(lambda: bool(vision.engine.outstanding_tiles))
    staying = asyncio.create_task(vision.encoder.encode(picture()))
    await until(lambda: vision.encoder.encodings.num_joined == 1)
    leaving.cancel()
    vision.thread.start()
    assert (await staying).image.grid.num_tiles == NUM_TILES


async def test_options_make_it_another_picture(vision: Vision) -> None:
    vision.thread.start()
    whole = await vision.encoder.encode(picture())
    low = replace(picture(), expected_tiles=1, options=ImageOptions(vision.tiling.at_most(1)))
    single = await vision.encoder.encode(low)
    assert (whole.image.grid.num_tiles, single.image.grid.num_tiles) == (NUM_TILES, 1)
    assert whole.image.image_key != single.image.image_key


async def test_a_kept_picture_is_no_answer_to_another_tile_count(vision: Vision) -> None:
    vision.thread.start()
    await vision.encoder.encode(picture())
    with pytest.raises(MismatchError, match="the caller has 4"):
        await vision.encoder.encode(replace(picture(), expected_tiles=4))


async def test_an_embedding_is_kept_and_sent_again_without_projecting(vision: Vision) -> None:
    vision.thread.start()
    receiver = Receiver()
    key = (await vision.encoder.encode(picture())).image.image_key
    async with serving(ADD, receiver) as loopback:
        task = vision.push_task(key, destination=loopback.address)
        first = await vision.encoder.push(task, "fingerprint")
        task = vision.push_task(key, destination=loopback.address, index=1)
        again = await vision.encoder.push(task, "fingerprint")
    assert receiver.received[0] == receiver.received[1]
    assert len(receiver.received[0]) == first.num_bytes == again.num_bytes
    assert (first.project_seconds > 0, again.project_seconds) == (True, 0)
    assert vision.engine.stats.num_projected_tiles == NUM_TILES
    assert vision.encoder.stats.num_kept_projections == 1
    assert vision.cache.referenced_bytes == 0


async def test_equal_pushes_at_once_project_once(vision: Vision) -> None:
    vision.thread.start()
    receiver = Receiver()
    key = (await vision.encoder.encode(picture())).image.image_key
    async with serving(ADD, receiver) as loopback:
        tasks = [vision.push_task(key, destination=loopback.address, index=i) for i in range(2)]
        await asyncio.gather(*(vision.encoder.push(task, "fingerprint") for task in tasks))
    assert receiver.received[0] == receiver.received[1]
    assert vision.engine.stats.num_projected_tiles == NUM_TILES


async def test_pushes_to_one_destination_take_turns_and_others_go_past(vision: Vision) -> None:
    vision.thread.start()
    slow, other = Receiver(), Receiver()
    slow.may_answer.clear()
    key = (await vision.encoder.encode(picture())).image.image_key
    async with serving(ADD, slow) as first, serving(ADD, other) as second:
        pushes = [
            asyncio.create_task(
                vision.encoder.push(vision.push_task(key, NUM_TILES, first.address, i), "f")
            )
            for i in range(3)
        ]
        await until(lambda: len(slow.opened) == 2)
        await vision.encoder.push(vision.push_task(key, NUM_TILES, second.address), "f")
        assert len(slow.opened) == 2
        assert vision.cache.referenced_bytes > 0
        slow.may_answer.set()
        await asyncio.gather(*pushes)
    assert sorted(slow.received) == [0, 1, 2]
    assert vision.cache.referenced_bytes == 0


async def test_where_only_scores_and_embedding_are_kept_a_planned_push_needs_no_pass(
    model: VisionModel, config: ModelConfig
) -> None:
    features, embedding = 5 * 64 * 32 * 4, 5 * 16 * 24 * 4
    vision = Vision(model, config, cache_bytes=features + embedding + 4096)
    vision.thread.start()
    receiver = Receiver()
    try:
        first = await vision.encoder.encode(picture(1))
        key = first.image.image_key
        async with serving(ADD, receiver) as loopback:
            task = vision.push_task(key, destination=loopback.address)
            await vision.encoder.push(task, "fingerprint")
            await vision.encoder.encode(picture(2))
            assert vision.cache.find(key) is None
            again = await vision.encoder.encode(replace(picture(1), planned=PLANNED))
            assert again.image.scores == first.image.scores
            await vision.encoder.push(replace(task, slot=embedding_pb2.EmbeddingSlot()), "f")
        assert vision.engine.stats.num_tiles == 2 * NUM_TILES
        assert vision.encoder.stats.num_kept_images == 1
        compressed = PlannedPush((True,) * NUM_TILES, torch.float32)
        await vision.encoder.encode(replace(picture(1), planned=compressed))
        assert vision.engine.stats.num_tiles == 3 * NUM_TILES
    finally:
        await vision.encoder.close()
        vision.thread.stop()


async def test_an_embedding_without_room_is_sent_and_not_kept(
    model: VisionModel, config: ModelConfig
) -> None:
    features = 5 * 64 * 32 * 4
    vision = Vision(model, config, cache_bytes=features)
    vision.thread.start()
    receiver = Receiver()
    try:
        key = (await vision.encoder.encode(picture())).image.image_key
        async with serving(ADD, receiver) as loopback:
            vision.cache.acquire(key)
            task = vision.push_task(key, destination=loopback.address)
            assert (await vision.encoder.push(task, "fingerprint")).num_bytes
        name = ProjectionName(key, PLANNED.compressed, torch.float32)
        assert vision.cache.acquire_projection(name) is None
    finally:
        await vision.encoder.close()
        vision.thread.stop()
