"""A client that goes away frees everything, in whatever stage its request is."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.config import LanguageServiceConfig
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.idle import held, wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference.conversation import user

PICTURE = pictures.grid(4, 3)
LONG = wire_request((user(PICTURE, "Tell a long story."),), 3000)
SHORT = wire_request((user(PICTURE, "What is this?"),), 4)


async def reach(cluster: LocalCluster, stage: str) -> None:
    """Wait until a request holds something of a stage."""
    async with asyncio.timeout(10):
        while not held(cluster)[stage]:
            await asyncio.wait_for(cluster.client.model(), 10)


async def run_until(cluster: LocalCluster, stage: str) -> None:
    """Begin a long answer and walk away in the given stage."""
    client = asyncio.create_task(cluster.client.answer(LONG))
    await reach(cluster, stage)
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client


@pytest.mark.parametrize(
    "stage", ["admitted requests", "reserved inbox bytes", "tiles to encode", "KV tokens"]
)
async def test_cancelling_frees_everything(flash_model_dir: Path, stage: str) -> None:
    async with local_cluster(flash_model_dir) as cluster:
        await run_until(cluster, stage)
        await wait_until_idle(cluster)
        assert (await cluster.client.answer(SHORT)).token_ids


async def test_cancelling_while_waiting_for_room_lets_the_next_one_in(
    flash_model_dir: Path,
) -> None:
    # Room for one picture of 13 tiles of 16 tokens of 192 float32 values, not for two.
    language = LanguageServiceConfig(kv_tokens=16384, inbox_bytes=13 * 16 * 192 * 4)
    async with local_cluster(flash_model_dir, ClusterOptions(language=language)) as cluster:
        first = cluster.client.stream(LONG)
        await until_delta(first)
        await run_until(cluster, "waiting reservations")
        next_in_line = asyncio.create_task(cluster.client.answer(SHORT))
        await reach(cluster, "waiting reservations")
        await first.aclose()
        assert (await next_in_line).token_ids
        await wait_until_idle(cluster)


async def until_delta(stream: AsyncIterator[inference_pb2.GenerateResponse]) -> None:
    """Read up to the first token."""
    async for response in stream:
        if response.HasField("delta"):
            return
