"""What reaches the encoder of an `Encode` call, and what is refused before it does."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from common.errors import InvalidRequestError
from common.image_options import ImageOptions
from common.model_config import ModelConfig
from common.tiling import MAX_TILES, TileGrid
from protos.dvd.v1 import embedding_pb2, replica_pb2, vision_pb2
from vision_service.engine_stats import EngineStats
from vision_service.images import ScoredImage
from vision_service.requests import EncodeResult, EncodeTask, PlannedPush
from vision_service.server import VisionServicer


class Call:
    """A call with time left."""

    def time_remaining(self) -> float:
        return 5.0


class FakeEncoder:
    """Keeps what it is asked, and has scored every picture already."""

    def __init__(self) -> None:
        self.asked: list[EncodeTask] = []

    async def encode(self, task: EncodeTask) -> EncodeResult:
        self.asked.append(task)
        scored = ScoredImage(b"key", TileGrid(2, 1, True), (0.25, 0.5, 1.0))
        return EncodeResult(scored, 1, 2, 3, 4)


async def encode(config: ModelConfig, **fields: Any) -> tuple[EncodeTask, Any]:
    """What the encoder is asked, and what is answered."""
    encoder = FakeEncoder()
    servicer = VisionServicer(replica_pb2.ServerInfo(), config, encoder, None, None)
    request = vision_pb2.EncodeRequest(image_data=b"file", expected_tiles=3, **fields)
    response = await servicer.Encode(request, Call())
    return encoder.asked[0], response


async def test_a_bare_request_follows_the_checkpoint(config: ModelConfig) -> None:
    task, response = await encode(config)
    assert task == EncodeTask(b"file", 3, ImageOptions(config.tiling))
    assert response == vision_pb2.EncodeResponse(
        image_key=b"key",
        num_tiles=3,
        scores=[0.25, 0.5, 1.0],
        queue_seconds=1,
        preprocess_seconds=2,
        vit_seconds=3,
        gate_seconds=4,
    )


async def test_options_and_what_will_be_pushed_reach_the_encoder(config: ModelConfig) -> None:
    push = vision_pb2.PlannedPush(
        compressed=[True, False, True], dtype=embedding_pb2.D_TYPE_BFLOAT16
    )
    task, _ = await encode(config, max_tiles=24, apply_orientation=True, planned_push=push)
    assert task.options == ImageOptions(config.tiling.at_most(24), apply_orientation=True)
    assert task.planned == PlannedPush((True, False, True), torch.bfloat16)


async def test_more_tiles_than_any_picture_may_have_are_refused(config: ModelConfig) -> None:
    await encode(config, max_tiles=MAX_TILES)
    with pytest.raises(InvalidRequestError) as caught:
        await encode(config, max_tiles=MAX_TILES + 1)
    assert caught.value.field == "max_tiles"


@dataclass
class BusyEngine:
    """The figures of an engine."""

    running_images: int = 1
    waiting_images: int = 2
    outstanding_tiles: int = 7
    coming_tiles: int = 4
    stats: EngineStats = field(default_factory=lambda: EngineStats(num_tiles=60, busy_seconds=2.5))


async def test_it_tells_how_busy_it_is_pictures_in_the_decoder_included(
    config: ModelConfig,
) -> None:
    servicer = VisionServicer(replica_pb2.ServerInfo(), config, FakeEncoder(), BusyEngine(), None)
    watch = servicer.WatchLoad(None, None)
    assert (await anext(watch)).load == replica_pb2.LoadReport(
        running_requests=1,
        waiting_requests=2,
        outstanding_work=11,
        completed_work=60,
        busy_seconds=2.5,
    )
    await watch.aclose()
