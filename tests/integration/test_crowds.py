"""Many requests at once over the whole path: none is lost, and room that is short only delays."""

import asyncio
from pathlib import Path

from common.config import LanguageServiceConfig, RouterConfig
from common.errors import OverloadedError
from protos.dvd.v1 import inference_pb2
from router.standing import Refusal
from tests import pictures
from tests.fakes import until
from tests.integration.holding import hold_inbox
from tests.integration.idle import wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, local_cluster
from tests.reference.conversation import user

NUM_REQUESTS = 200
TILE_BYTES = 16 * 192 * 4  # of a test checkpoint, at full resolution
ROUTER = RouterConfig(grpc_port=0, max_requests=NUM_REQUESTS)


def room_for(num_tiles: int) -> ClusterOptions:
    """A cluster whose inbox holds so many tiles."""
    language = LanguageServiceConfig(kv_tokens=16384, inbox_bytes=num_tiles * TILE_BYTES)
    return ClusterOptions(router=ROUTER, language=language)


def asking(seed: int, columns: int = 1, rows: int = 1) -> inference_pb2.GenerateRequest:
    """Ask about a picture that no other seed has."""
    return wire_request((user(pictures.grid(columns, rows, seed), "What is this?"),), 2)


async def test_200_requests_at_once_are_all_answered(flash_model_dir: Path) -> None:
    async with local_cluster(flash_model_dir, room_for(20)) as cluster:
        asked = [asking(seed) for seed in range(NUM_REQUESTS)]
        answers = await asyncio.gather(*(cluster.client.answer(each) for each in asked))
        await wait_until_idle(cluster)
        reasons = {answer.finished.finish_reason for answer in answers}
        assert reasons <= {inference_pb2.FINISH_REASON_LENGTH, inference_pb2.FINISH_REASON_STOP}
        assert sum(len(answer.token_ids) for answer in answers) > NUM_REQUESTS
        for seed in range(0, NUM_REQUESTS, 40):
            alone = await cluster.client.answer(asked[seed])
            assert alone.token_ids == answers[seed].token_ids


async def test_mode_1_of_200_requests_at_once_100_are_answered_and_the_rest_told_when_to_return(
    flash_model_dir: Path,
) -> None:
    room = room_for(NUM_REQUESTS // 2)
    options = room.model_copy(update={"router": RouterConfig(grpc_port=0, max_requests=100)})
    async with local_cluster(flash_model_dir, options) as cluster:
        async with hold_inbox(cluster, NUM_REQUESTS // 2):  # so that none ends before all have come
            asked = [
                asyncio.create_task(cluster.client.answer(asking(seed)))
                for seed in range(NUM_REQUESTS)
            ]
            await until(lambda: sum(each.done() for each in asked) == NUM_REQUESTS - 100)
            refusals = [each.exception() for each in asked if each.done()]
        answers = [await each for each in asked if not each.done() or each.exception() is None]
        assert len(answers) == 100
        assert all(answer.token_ids for answer in answers)
        for refusal in refusals:
            assert isinstance(refusal, OverloadedError)
            assert refusal.retry_after_seconds > 0
        await wait_until_idle(cluster)
        registry, cause = cluster.router.metrics.registry, {"cause": Refusal.REQUESTS.value}
        refused = registry.get_sample_value("dvd_refusals_total", cause)
        assert refused == NUM_REQUESTS - 100


async def test_two_requests_that_together_exceed_the_inbox_both_finish(
    flash_model_dir: Path,
) -> None:
    async with local_cluster(flash_model_dir, room_for(13)) as cluster:
        asked = [asking(seed, 4, 3) for seed in range(2)]
        answers = await asyncio.gather(*(cluster.client.answer(each) for each in asked))
        assert [answer.finished.usage.tiles for answer in answers] == [13, 13]
        await wait_until_idle(cluster)
