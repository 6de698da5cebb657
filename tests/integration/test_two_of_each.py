"""Two vision and two language replicas: work is shared, and a lost one is worked around."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests import pictures
from tests.integration.idle import wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference.conversation import user

PICTURES = [pictures.grid(2, 2, seed) for seed in range(8)]
REQUESTS = [wire_request((user(picture, "What is this?"),), 8) for picture in PICTURES]
BOTH = wire_request((user(*PICTURES, "Compare them."),), 8)


@pytest_asyncio.fixture
async def cluster(flash_model_dir: Path) -> AsyncIterator[LocalCluster]:
    options = ClusterOptions(num_vision=2, num_language=2)
    async with local_cluster(flash_model_dir, options) as running:
        yield running


async def answers(cluster: LocalCluster) -> list[tuple[int, ...]]:
    answered = await asyncio.gather(*(cluster.client.answer(each) for each in REQUESTS))
    return [answer.token_ids for answer in answered]


async def test_pictures_of_one_request_are_spread_over_both_vision_replicas(
    cluster: LocalCluster,
) -> None:
    spread = await cluster.client.answer(BOTH)
    assert all(replica.engine.stats.num_tiles for replica in cluster.visions)
    alone = await cluster.client.answer(BOTH)
    assert spread.token_ids == alone.token_ids
    assert list(spread.finished.images) == list(alone.finished.images)
    await wait_until_idle(cluster)


async def test_a_lost_vision_replica_is_worked_around(cluster: LocalCluster) -> None:
    undisturbed = await answers(cluster)
    under_way = asyncio.create_task(answers(cluster))
    await cluster.visions[0].stop(0)
    assert await under_way == undisturbed
    assert await answers(cluster) == undisturbed
    await wait_until_idle(cluster)


@pytest.mark.parametrize("num_tokens", [1, 20])
async def test_a_language_replica_that_stops_mid_answer_costs_no_token(
    cluster: LocalCluster, num_tokens: int
) -> None:
    """Failure mode 26, without any grace: long answers go on where the replica is not stopped."""
    requests = [wire_request((user(picture, "Tell me more."),), 64) for picture in PICTURES]
    for request in requests:
        request.sampling.ignore_eos = True
    undisturbed = await asyncio.gather(*map(cluster.client.answer, requests))
    under_way = [asyncio.create_task(cluster.client.answer(each)) for each in requests[1:]]
    events = []
    async for event in cluster.client.stream(requests[0]):
        events.append(event)
        if len([each for each in events if each.HasField("delta")]) == num_tokens:
            await cluster.languages[0].stop(0)
    answers = await asyncio.gather(*under_way)
    assert [each.token_ids for each in answers] == [each.token_ids for each in undisturbed[1:]]
    assert [each.text for each in answers] == [each.text for each in undisturbed[1:]]
    told = tuple(token_id for each in events for token_id in each.delta.token_ids)
    assert told == undisturbed[0].token_ids


async def test_a_lost_language_replica_takes_no_new_requests(cluster: LocalCluster) -> None:
    undisturbed = await answers(cluster)
    await cluster.languages[0].stop(0)
    async with asyncio.timeout(10):
        while cluster.router.languages.num_up == 2:
            await cluster.client.model()
    assert await answers(cluster) == undisturbed
