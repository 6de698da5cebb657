"""What requests and operators may say about pictures and resolutions, through a whole cluster."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from common.config import (
    LanguageServiceConfig,
    OverloadConfig,
    ResolutionConfig,
    RouterConfig,
    ThresholdBounds,
    VisionServiceConfig,
)
from common.errors import InvalidRequestError
from common.types import ResolutionScope
from deploy.client import Answer
from protos.dvd.v1 import inference_pb2
from router.requests import RequestCost
from tests import pictures
from tests.integration.metrics import scrape
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference.conversation import user

pytestmark = pytest.mark.asyncio(loop_scope="module")

SQUARE = pictures.grid(2, 2, seed=90)
HIGH, LOW = inference_pb2.IMAGE_DETAIL_HIGH, inference_pb2.IMAGE_DETAIL_LOW
RESOLUTION = ResolutionConfig(
    relative_threshold=0.0, relative_bounds=ThresholdBounds(lowest=0.0, highest=0.9)
)
ROUTER = RouterConfig(grpc_port=0, apply_orientation=True, resolution=RESOLUTION)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(flash_model_dir: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(flash_model_dir, ClusterOptions(router=ROUTER)) as running:
        yield running


def about(*images: inference_pb2.Image) -> inference_pb2.GenerateRequest:
    """A request about these pictures."""
    request = wire_request((user("What is this?"),), 4)
    parts = [inference_pb2.Part(image=image) for image in images]
    request.messages[0].parts.extend(parts)
    return request


def tiles_of(answer: Answer) -> list[int]:
    return [len(image.compressed) for image in answer.finished.images]


async def test_every_picture_has_its_own_number_of_tiles(cluster: LocalCluster) -> None:
    images = (
        inference_pb2.Image(data=SQUARE),
        inference_pb2.Image(data=SQUARE, detail=LOW),
        inference_pb2.Image(data=SQUARE, max_tiles=4),
        inference_pb2.Image(data=SQUARE, detail=HIGH),
    )
    answer = await cluster.client.answer(about(*images))
    assert tiles_of(answer) == [5, 1, 5, 5]
    assert answer.finished.usage.tiles == 16


async def test_a_turned_picture_equals_the_one_that_stands(cluster: LocalCluster) -> None:
    upright = Image.open(io.BytesIO(pictures.grid(1, 3, seed=91)))
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(stream, "PNG", exif=exif)
    files = (pictures.png(upright), stream.getvalue())
    answers = [await cluster.client.answer(about(inference_pb2.Image(data=file))) for file in files]
    first, second = (answer.finished.images[0] for answer in answers)
    assert (first.columns, first.rows, first.orientation) == (1, 3, 1)
    assert (second.columns, second.rows, second.orientation) == (1, 3, 6)
    assert list(first.scores) == list(second.scores)
    assert answers[0].token_ids == answers[1].token_ids


async def test_a_lower_threshold_compresses_more_and_usage_shows_it(cluster: LocalCluster) -> None:
    request = about(inference_pb2.Image(data=SQUARE))
    request.resolution_absolute_threshold = 0.0
    counts = []
    for relative in (0.9, 0.5, 0.0):
        request.resolution_relative_threshold = relative
        finished = (await cluster.client.answer(request)).finished
        assert finished.resolution == inference_pb2.AppliedResolution(
            scope=inference_pb2.RESOLUTION_SCOPE_REQUEST, relative_threshold=relative
        )
        usage = finished.usage
        assert usage.visual_tokens == 5 * 16 - 12 * usage.compressed_tiles
        counts.append(usage.compressed_tiles)
    assert counts == [1, 2, 4]


async def test_the_operator_sets_what_requests_leave_open_and_how_far_they_go(
    cluster: LocalCluster,
) -> None:
    request = about(inference_pb2.Image(data=SQUARE))
    finished = (await cluster.client.answer(request)).finished
    assert finished.resolution.relative_threshold == 0.0
    request.resolution_relative_threshold = 0.95
    with pytest.raises(InvalidRequestError, match=r"must be from 0 to 0\.9") as refused:
        await cluster.client.answer(request)
    assert refused.value.field == "resolution_relative_threshold"


async def test_load_raises_compression_before_work_is_refused(flash_model_dir: Path) -> None:
    overload = OverloadConfig(above_load=0.5, relative_threshold=0.0, absolute_threshold=0.0)
    router = RouterConfig(
        grpc_port=0, max_requests=2, resolution=ResolutionConfig(overload=overload)
    )
    calm = about(inference_pb2.Image(data=SQUARE))
    full = wire_request((user(SQUARE, "What is this?"),), 4, ResolutionScope.OFF)
    async with local_cluster(flash_model_dir, ClusterOptions(router=router)) as cluster:
        before = (await cluster.client.answer(calm)).finished
        with cluster.router.admission.admit(cluster_share()):
            raised = (await cluster.client.answer(calm)).finished
            whole = (await cluster.client.answer(full)).finished
        registry = cluster.router.metrics.registry
        assert registry.get_sample_value("dvd_requests_raised_for_load_total") == 1
    assert (before.resolution.raised_for_load, raised.resolution.raised_for_load) == (False, True)
    assert raised.usage.compressed_tiles == 4 > before.usage.compressed_tiles
    assert (whole.resolution.raised_for_load, whole.usage.compressed_tiles) == (False, 0)


def cluster_share() -> RequestCost:
    """The smallest request that is in flight beside another."""
    return RequestCost(tiles=0, tokens=1, image_bytes=0)


async def test_a_picture_whose_embedding_is_kept_needs_no_pass_though_its_output_is_gone(
    flash_model_dir: Path,
) -> None:
    # Of five tiles each: one output, two embeddings, and the scores.
    output, embedding = 5 * 64 * 128 * 4, 5 * 16 * 192 * 4
    options = ClusterOptions(
        vision=VisionServiceConfig(feature_cache_bytes=output + 2 * embedding + 4096),
        language=LanguageServiceConfig(kv_tokens=16384, prefix_cache=False),
    )
    requests = [about(inference_pb2.Image(data=pictures.grid(2, 2, seed))) for seed in (92, 93)]
    async with local_cluster(flash_model_dir, options) as cluster:
        first, _, again = [await cluster.client.answer(requests[i]) for i in (0, 1, 0)]
        (replica,) = cluster.visions
        assert replica.engine.stats.num_tiles == 10
        assert replica.cache.num_images == 1
        address = next(r for r in cluster.roster.replicas if r.role == "vision").metrics_address
        samples = await asyncio.to_thread(scrape, address)
    assert samples["dvd_vision_kept_total encoding"] == 1
    assert samples["dvd_vision_kept_total projection"] == 1
    assert samples["dvd_vision_joined_total encoding"] == 0
    assert samples["dvd_vision_unscored_tiles_total"] == 0
    assert again.token_ids == first.token_ids
    assert list(again.finished.images) == list(first.finished.images)


async def test_one_picture_in_many_requests_at_once_is_encoded_once(flash_model_dir: Path) -> None:
    request = about(inference_pb2.Image(data=pictures.grid(2, 2, seed=94)))
    async with local_cluster(flash_model_dir) as cluster:
        answers = await asyncio.gather(*(cluster.client.answer(request) for _ in range(8)))
        assert cluster.visions[0].engine.stats.num_tiles == 5
    assert len({answer.token_ids for answer in answers}) == 1
