"""One request has one mask and one answer: alone, among others, and on two vision replicas."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from common.config import LanguageServiceConfig
from common.types import ResolutionScope
from deploy.client import Answer
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.conversations import CONVERSATIONS
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference.conversation import user

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 12
# Nothing is reused, so that every asking goes all the way.
LANGUAGE = LanguageServiceConfig(kv_tokens=16384, prefix_cache=False)
SQUARES = [pictures.grid(2, 2, seed) for seed in range(70, 74)]
BLANK = pictures.blank(2 * pictures.TILE, 2 * pictures.TILE)
SMALL = pictures.shapes(100, 90, seed=7)
NEIGHBOURS = [
    wire_request(CONVERSATIONS[name], MAX_TOKENS)
    for name in ("a photograph", "half of it blank", "one small picture", "text only")
]


def asking(
    *files: bytes,
    scope: ResolutionScope = ResolutionScope.REQUEST,
    relative: float | None = None,
    absolute: float | None = None,
) -> inference_pb2.GenerateRequest:
    """A request about these pictures, decided by these thresholds."""
    request = wire_request((user(*files, "Compare them."),), MAX_TOKENS, scope)
    if relative is not None:
        request.resolution_relative_threshold = relative
    if absolute is not None:
        request.resolution_absolute_threshold = absolute
    return request


CASES: dict[str, tuple[inference_pb2.GenerateRequest, list[int] | None]] = {
    "by the checkpoint's rule": (asking(*SQUARES), None),
    "all compressed": (asking(*SQUARES, scope=ResolutionScope.ABSOLUTE, absolute=0), [5] * 4),
    "none compressed": (asking(*SQUARES, absolute=1), [0] * 4),
    "all but the least likely": (asking(*SQUARES[:1], relative=0, absolute=0), [4]),
    "one tile": (asking(SMALL, relative=0, absolute=0), [0]),
    "one tile, compressed": (asking(SMALL, scope=ResolutionScope.ABSOLUTE, absolute=0), [1]),
    "ties": (asking(BLANK, relative=0, absolute=0), [0]),
    "ties beside others": (asking(BLANK, *SQUARES, scope=ResolutionScope.IMAGE, absolute=0), None),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(flash_model_dir: Path) -> AsyncIterator[dict[str, Answer]]:
    """Every case asked of a cluster of its own kind, one after the other."""
    async with local_cluster(flash_model_dir, ClusterOptions(language=LANGUAGE)) as cluster:
        yield {name: await cluster.client.answer(case) for name, (case, _) in CASES.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(flash_model_dir: Path) -> AsyncIterator[LocalCluster]:
    """Two vision replicas."""
    options = ClusterOptions(num_vision=2, language=LANGUAGE)
    async with local_cluster(flash_model_dir, options) as cluster:
        yield cluster


def assert_same(one: Answer, other: Answer) -> None:
    assert list(one.finished.images) == list(other.finished.images)
    assert one.token_ids == other.token_ids
    assert one.finished.usage == other.finished.usage


@pytest.mark.parametrize("name", CASES)
async def test_the_mask_is_the_one_that_was_asked_for(alone: dict[str, Answer], name: str) -> None:
    finished, expected = alone[name].finished, CASES[name][1]
    compressed = [sum(image.compressed) for image in finished.images]
    assert expected in (None, compressed)
    usage = finished.usage
    assert usage.compressed_tiles == sum(compressed)
    # A tile of the small models has 16 visual tokens, or 4.
    assert usage.visual_tokens_before_resolution == 16 * usage.tiles
    assert usage.visual_tokens == 16 * usage.tiles - 12 * usage.compressed_tiles


@pytest.mark.parametrize("name", CASES)
async def test_two_vision_replicas_give_the_same(
    alone: dict[str, Answer], two: LocalCluster, name: str
) -> None:
    assert_same(await two.client.answer(CASES[name][0]), alone[name])


@pytest.mark.parametrize("name", CASES)
async def test_neighbours_give_the_same(
    alone: dict[str, Answer], two: LocalCluster, name: str
) -> None:
    requests = (CASES[name][0], *NEIGHBOURS)
    answer, *_ = await asyncio.gather(*(two.client.answer(each) for each in requests))
    assert_same(answer, alone[name])


async def test_both_replicas_were_used(two: LocalCluster) -> None:
    await two.client.answer(asking(*[pictures.grid(2, 2, seed) for seed in range(80, 84)]))
    assert all(replica.engine.stats.num_tiles for replica in two.visions)
