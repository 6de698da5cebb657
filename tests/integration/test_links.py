"""Links that fail without a word: silent, slow, or leading to somebody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from common.config import HealthConfig, RouterConfig
from protos.dvd.v1 import inference_pb2
from router.replica_health import HealthState
from tests import pictures
from tests.fakes import pass_time
from tests.faulty_relay import FaultyRelay, faulty_relay
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference.conversation import user

HEALTH = HealthConfig(probe_interval_seconds=1.0, probe_timeout_seconds=1.0, silence_seconds=1.5)
OPTIONS = ClusterOptions(num_language=2, router=RouterConfig(grpc_port=0, health=HEALTH))
PATIENCE_SECONDS = 60.0
NUM_TOKENS = 300


def asking(max_tokens: int) -> inference_pb2.GenerateRequest:
    """A request whose answer has exactly so many tokens."""
    request = wire_request((user(pictures.grid(1, 1, 3), "What is this?"),), max_tokens)
    request.sampling.ignore_eos = True
    return request


@asynccontextmanager
async def relayed(model_dir: Path) -> AsyncIterator[tuple[LocalCluster, list[FaultyRelay]]]:
    """A cluster whose router reaches its language replicas through relays, in their order."""
    async with local_cluster(model_dir, OPTIONS) as cluster, AsyncExitStack() as stack:
        relays = []
        for name in ("language-0", "language-1"):
            entry = cluster.roster.find(name)
            relay = await stack.enter_async_context(faulty_relay(entry.address))
            await cluster.roster.put(replace(entry, address=relay.address))
            relays.append(relay)
        await until(lambda: addresses(cluster) == {relay.address for relay in relays})
        await cluster.router.languages.wait_until_up(2)
        yield cluster, relays


async def until(holds) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():
            await pass_time(0.01)


def addresses(cluster: LocalCluster) -> set[str]:
    return {replica.address.address for replica in cluster.router.languages.replicas}


async def test_mode_22_a_link_that_goes_silent_in_mid_answer_costs_no_token(
    flash_model_dir: Path,
) -> None:
    async with relayed(flash_model_dir) as (cluster, relays):
        expected = (await cluster.client.answer(asking(NUM_TOKENS))).token_ids
        answer = asyncio.create_task(cluster.client.answer(asking(NUM_TOKENS)))
        engines = [each.engine for each in cluster.languages]
        await until(lambda: any(engine.outstanding_tokens for engine in engines))
        silent = [bool(engine.outstanding_tokens) for engine in engines].index(True)
        relays[silent].silence()
        assert (await asyncio.wait_for(answer, PATIENCE_SECONDS)).token_ids == expected
        lost = cluster.router.languages.replicas[silent]
        await until(lambda: not lost.is_up)
        relays[silent].heal()
        await until(lambda: lost.is_up)


async def test_mode_5_a_slow_link_is_no_lost_replica(flash_model_dir: Path) -> None:
    async with relayed(flash_model_dir) as (cluster, relays):
        for relay in relays:
            relay.delay_seconds = 0.1
        seen = set()
        for _ in range(3):
            assert (await cluster.client.answer(asking(8))).token_ids
            seen |= {replica.state for replica in cluster.router.languages.replicas}
        assert seen <= {HealthState.UP, HealthState.SUSPECT}


@pytest.mark.parametrize("stranger", ["vision-0", "language-1"])
async def test_mode_21_an_address_at_which_somebody_else_answers_is_never_used(
    flash_model_dir: Path, stranger: str
) -> None:
    async with local_cluster(flash_model_dir, OPTIONS) as cluster:
        entry, other = cluster.roster.find("language-0"), cluster.roster.find(stranger)
        await cluster.roster.put(replace(entry, address=other.address))
        await until(lambda: other.address in addresses(cluster) and len(addresses(cluster)) < 3)
        for _ in range(4):
            assert (await cluster.client.answer(asking(4))).token_ids
            for replica in cluster.router.languages.replicas:
                assert replica.is_up == (replica.address.name == "language-1")
