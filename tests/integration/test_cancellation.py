"""A client that goes away frees everything, in whatever stage its request is."""

import asyncio
from itertools import count
from pathlib import Path

import pytest

from common.config import LanguageServiceConfig
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.holding import hold_inbox
from tests.integration.idle import held, wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference.conversation import user

NUM_TILES = 13
# Room for one picture of 13 tiles of 16 tokens of 192 float32 values, not for two.
ONE_PICTURE = LanguageServiceConfig(kv_tokens=16384, inbox_bytes=NUM_TILES * 16 * 192 * 4)
PATIENCE_SECONDS = 30


def asking(seed: int = 0) -> inference_pb2.GenerateRequest:
    """Ask about a picture that no other seed has, so that it must be encoded."""
    return wire_request((user(pictures.grid(4, 3, seed), "What is this?"),), 64)


async def leave_in(cluster: LocalCluster, stage: str) -> None:
    """Begin a request and walk away while it holds something of a stage.

    A request that is through the stage before anyone looked is followed by another.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        for seed in count(1):
            client = asyncio.create_task(cluster.client.answer(asking(seed)))
            while not client.done() and not held(cluster)[stage]:
                await cluster.client.model()
            if client.cancel():
                break
    with pytest.raises(asyncio.CancelledError):
        await client


@pytest.mark.parametrize(
    "stage", ["admitted requests", "reserved inbox bytes", "tiles to encode", "KV tokens"]
)
async def test_cancelling_frees_everything(flash_model_dir: Path, stage: str) -> None:
    async with local_cluster(flash_model_dir) as cluster:
        await leave_in(cluster, stage)
        await wait_until_idle(cluster)
        assert (await cluster.client.answer(asking())).token_ids


async def test_cancelling_while_waiting_for_room_lets_the_next_one_in(
    flash_model_dir: Path,
) -> None:
    async with local_cluster(flash_model_dir, ClusterOptions(language=ONE_PICTURE)) as cluster:
        async with hold_inbox(cluster, NUM_TILES):
            await leave_in(cluster, "waiting reservations")
            next_in_line = asyncio.create_task(cluster.client.answer(asking()))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not held(cluster)["waiting reservations"]:
                    await cluster.client.model()
        assert (await next_in_line).token_ids
        await wait_until_idle(cluster)
