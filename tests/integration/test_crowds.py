"""Many requests at once over the whole path: none is lost, and room that is short only delays."""

import asyncio
from pathlib import Path

from common.config import LanguageServiceConfig, RouterConfig
from protos.dvd.v1 import inference_pb2
from tests import pictures
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


async def test_two_requests_that_together_exceed_the_inbox_both_finish(
    flash_model_dir: Path,
) -> None:
    async with local_cluster(flash_model_dir, room_for(13)) as cluster:
        asked = [asking(seed, 4, 3) for seed in range(2)]
        answers = await asyncio.gather(*(cluster.client.answer(each) for each in asked))
        assert [answer.finished.usage.tiles for answer in answers] == [13, 13]
        await wait_until_idle(cluster)
